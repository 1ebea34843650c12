// Shows the text of the point of a chart that is nearest to the pointer, or chosen with the arrow keys, and makes charts larger.
(() => {
  "use strict";
  for (const chart of document.querySelectorAll("svg.chart")) {
    const figure = chart.closest("figure");
    const caption = figure.querySelector("figcaption");
    if (figure.parentElement.classList.contains("pair")) {
      const larger = document.createElement("button");
      larger.type = "button";
      larger.className = "larger";
      larger.textContent = "larger";
      larger.setAttribute("aria-pressed", "false");
      larger.addEventListener("click", () => {
        const large = figure.classList.toggle("large");
        larger.textContent = large ? "smaller" : "larger";
        larger.setAttribute("aria-pressed", String(large));
      });
      caption.prepend(larger);
    }
    if (!chart.dataset.points) continue;
    const points = JSON.parse(chart.dataset.points);
    const reading = figure.querySelector("output");
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", chart.dataset.top);
    cursor.setAttribute("y2", chart.dataset.bottom);
    let chosen = -1;
    const show = (index) => {
      chosen = index;
      const [x, words] = points[index];
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      if (!cursor.parentNode) chart.append(cursor);
      reading.textContent = words;
    };
    const hide = () => {
      chosen = -1;
      cursor.remove();
      reading.textContent = "";
    };
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      let nearest = 0;
      points.forEach((point, index) => {
        if (Math.abs(point[0] - x) < Math.abs(points[nearest][0] - x)) nearest = index;
      });
      show(nearest);
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      const last = points.length - 1;
      const next = { ArrowRight: Math.min(chosen + 1, last), ArrowLeft: Math.max(chosen - 1, 0), Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(next);
    });
  }
})();
