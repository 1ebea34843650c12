/* test_graph_order.c - the order of the nodes of a graph, and where it may be cut, on graphs
 * that are written down here. */
#include "check.h"
#include "devices/gpu/graph_order.h"

enum {
    MOST = 64
};

struct graph {
    uint32_t nodes, order[MOST], cuts[MOST], cut_count;
    size_t edge_count;
    struct xs_edge edges[MOST * MOST];
    struct xs_error err;
};

/* "0>1 0>2": edges. Return the status of sorting. */
static int read_graph(struct graph *g, uint32_t nodes, const char *edges)
{
    memset(g, 0, sizeof *g);
    g->nodes = nodes;
    for (int length; *edges != '\0'; edges += length) {
        struct xs_edge *e = &g->edges[g->edge_count++];
        CHECK_EQ(sscanf(edges, "%u>%u%n", &e->from, &e->to, &length), 2);
        length += edges[length] == ' ';
    }
    int rc = xs__graph_order(nodes, g->edges, &g->edge_count, g->order, &g->err);
    if (rc == XS_OK)
        g->cut_count = xs__graph_cuts(nodes, g->edges, g->edge_count, g->cuts);
    return rc;
}

/* The cuts as text, with the number of nodes at the end. */
static const char *cuts_of(uint32_t nodes, const char *edges)
{
    static char text[256];
    struct graph g;
    size_t length = 0;
    CHECK_EQ(read_graph(&g, nodes, edges), XS_OK);
    for (size_t e = 0; e < g.edge_count; e++)
        CHECK(g.edges[e].from < g.edges[e].to); /* positions, in a topological order */
    text[0] = '\0';
    for (uint32_t i = 0; i < g.cut_count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%u", i > 0 ? " " : "",
                                   g.cuts[i]);
    return text;
}

#define CHECK_CUTS(nodes, edges, cuts) CHECK(strcmp(cuts_of(nodes, edges), cuts) == 0)

static void a_chain_may_be_cut_everywhere(void)
{
    CHECK_CUTS(1, "", "1");
    CHECK_CUTS(4, "0>1 1>2 2>3", "1 2 3 4");
    CHECK_CUTS(4, "3>2 2>1 1>0", "1 2 3 4");             /* numbered backwards */
    CHECK_CUTS(4, "0>1 1>2 2>3 0>2 1>3 0>3", "1 2 3 4"); /* edges that others imply */
    CHECK_CUTS(4, "0>1 1>2 2>3 0>3", "1 2 3 4");         /* one of them only */
    CHECK_CUTS(3, "0>1 0>1 1>2 1>2 1>2", "1 2 3");       /* an edge twice */
}

/* A cut inside a diamond would make one branch wait for the other. */
static void branches_are_not_cut(void)
{
    CHECK_CUTS(4, "0>1 0>2 1>3 2>3", "1 3 4");
    CHECK_CUTS(6, "0>1 0>2 1>3 2>4 3>5 4>5", "1 5 6"); /* two branches of two */
    CHECK_CUTS(5, "0>1 0>2 0>3 1>4 2>4 3>4", "1 4 5"); /* three branches */
    CHECK_CUTS(5, "0>1 1>2 1>3 2>4 3>4", "1 2 4 5");   /* a chain before it */
    CHECK_CUTS(7, "0>1 0>2 1>3 2>3 3>4 3>5 4>6 5>6", "1 3 4 6 7");
}

/* Each of two nodes leads to each of two others: cutting between them changes nothing. */
static void full_crossings_may_be_cut(void)
{
    CHECK_CUTS(4, "0>2 0>3 1>2 1>3", "2 4");
    CHECK_CUTS(4, "0>2 0>3 1>3", "4"); /* 1 and 2 are independent */
    CHECK_CUTS(6, "0>1 0>2 1>3 1>4 2>3 2>4 3>5 4>5", "1 3 5 6");
    CHECK_CUTS(6, "0>1 0>2 1>3 1>4 2>4 3>5 4>5", "1 5 6");
}

/* A node that nothing waits for may run until the end, and one that waits for nothing from the
 * beginning. */
static void ends_and_beginnings_on_the_side_are_not_cut_off(void)
{
    CHECK_CUTS(3, "0>1 0>2", "1 3");
    CHECK_CUTS(4, "0>1 1>2 0>3", "1 4"); /* 3 runs next to 1 and 2 */
    CHECK_CUTS(3, "0>2 1>2", "2 3");
    CHECK_CUTS(4, "0>1 1>2 3>2", "3 4"); /* 3 runs next to 0 and 1 */
    CHECK_CUTS(2, "", "2");
    CHECK_CUTS(4, "0>1 2>3", "4"); /* two chains */
}

static void a_circle_is_refused(void)
{
    struct graph g;
    CHECK_EQ(read_graph(&g, 3, "0>1 1>2 2>1"), XS_EINVAL);
    CHECK(strstr(g.err.message, "circle") != NULL);
    CHECK_EQ(read_graph(&g, 1, "0>0"), XS_EINVAL);
}

/* ---- random graphs against the definition ------------------------------------------------ */

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* reach[a] has bit b: b depends on a. */
static void find_reach(const struct graph *g, uint64_t reach[MOST])
{
    memset(reach, 0, MOST * sizeof *reach);
    for (uint32_t a = g->nodes; a-- > 0;)
        for (size_t e = 0; e < g->edge_count; e++)
            if (g->edges[e].from == a)
                reach[a] |= UINT64_C(1) << g->edges[e].to | reach[g->edges[e].to];
}

/* A cut loses nothing if and only if all nodes after it depend on all nodes before it. */
static void a_cut_is_where_everything_depends_on_everything(void)
{
    uint32_t state = 1, found = 0;
    for (int round = 0; round < 3000; round++) {
        struct graph g;
        uint64_t reach[MOST];
        memset(&g, 0, sizeof g);
        g.nodes = 2 + next(&state) % 12;
        uint32_t density = 1 + next(&state) % 9;
        for (uint32_t a = 0; a < g.nodes; a++)
            for (uint32_t b = a + 1; b < g.nodes; b++)
                if (next(&state) % 10 < density)
                    g.edges[g.edge_count++] = (struct xs_edge){a, b};
        CHECK_EQ(xs__graph_order(g.nodes, g.edges, &g.edge_count, g.order, NULL), XS_OK);
        g.cut_count = xs__graph_cuts(g.nodes, g.edges, g.edge_count, g.cuts);
        find_reach(&g, reach);
        uint32_t k = 0;
        for (uint32_t cut = 1; cut < g.nodes; cut++) {
            bool all = true;
            for (uint32_t a = 0; a < cut; a++)
                all &= reach[a] >> cut == (UINT64_C(1) << (g.nodes - cut)) - 1;
            CHECK_EQ(k < g.cut_count && g.cuts[k] == cut, all);
            k += all;
        }
        CHECK_EQ(k + 1, g.cut_count);
        found += k;
    }
    CHECK(found > 1000);
}

int main(void)
{
    a_chain_may_be_cut_everywhere();
    branches_are_not_cut();
    full_crossings_may_be_cut();
    ends_and_beginnings_on_the_side_are_not_cut_off();
    a_circle_is_refused();
    a_cut_is_where_everything_depends_on_everything();
    return 0;
}
