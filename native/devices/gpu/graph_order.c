/* graph_order.c - see graph_order.h. */
#include "devices/gpu/graph_order.h"

#include <stdlib.h>

static int compare_edges(const void *left, const void *right)
{
    const struct xs_edge *a = left, *b = right;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

static size_t sort_edges(struct xs_edge *edges, size_t count)
{
    size_t kept = 0;
    if (count > 0)
        qsort(edges, count, sizeof *edges, compare_edges);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || compare_edges(&edges[i - 1], &edges[i]) != 0)
            edges[kept++] = edges[i];
    return kept;
}

/* Kahn's algorithm: `order` is also the list of nodes whose predecessors are all in it. The edges
 * are sorted; first[n] is where those of node n begin. Return how many nodes got a place. */
static uint32_t sort_nodes(uint32_t nodes, const struct xs_edge *edges, const size_t *first,
                           uint32_t *waiting, uint32_t *order)
{
    uint32_t placed = 0;
    for (uint32_t n = 0; n < nodes; n++)
        if (waiting[n] == 0)
            order[placed++] = n;
    for (uint32_t i = 0; i < placed; i++)
        for (size_t e = first[order[i]]; e < first[order[i] + 1]; e++)
            if (--waiting[edges[e].to] == 0)
                order[placed++] = edges[e].to;
    return placed;
}

int xs__graph_order(uint32_t nodes, struct xs_edge *edges, size_t *edge_count, uint32_t *order,
                    struct xs_error *err)
{
    int rc = XS_OK;
    size_t count = *edge_count = sort_edges(edges, *edge_count);
    size_t *first = calloc((size_t)nodes + 1, sizeof *first);
    uint32_t *waiting = calloc(nodes, sizeof *waiting); /* predecessors without a place */
    if (first == NULL || waiting == NULL) {
        rc =
            xs__fail(err, XS_ENOMEM, "graph.open", 0, "no memory for the order of %u nodes", nodes);
        goto out;
    }
    for (size_t e = 0; e < count; e++) {
        first[edges[e].from + 1]++;
        waiting[edges[e].to]++;
    }
    for (uint32_t n = 0; n < nodes; n++)
        first[n + 1] += first[n];
    if (sort_nodes(nodes, edges, first, waiting, order) < nodes) {
        rc = xs__fail(err, XS_EINVAL, "graph.open", 0, "the edges of the graph form a circle");
        goto out;
    }
    uint32_t *position = waiting;
    for (uint32_t i = 0; i < nodes; i++)
        position[order[i]] = i;
    for (size_t e = 0; e < count; e++)
        edges[e] = (struct xs_edge){position[edges[e].from], position[edges[e].to]};
out:
    free(first);
    free(waiting);
    return rc;
}

/* What changes from one position to the next; position i has i nodes before it. A node before
 * the cut counts if none of its successors is before it, too: it is the last of its branch.
 * A node after the cut counts if none of its predecessors is after it. Only an edge leads from
 * the one to the other, so the cut is allowed if there are as many edges as pairs of them. */
struct step {
    int64_t last, first, edges;
    uint32_t successor;   /* of node i: the first one; the number of nodes: none */
    uint32_t predecessor; /* of node i: the last one + 1; 0: none */
};

static void find_neighbours(struct step *steps, uint32_t nodes, const struct xs_edge *edges,
                            size_t count)
{
    for (uint32_t n = 0; n < nodes; n++)
        steps[n].successor = nodes;
    for (size_t e = 0; e < count; e++) {
        struct step *from = &steps[edges[e].from], *to = &steps[edges[e].to];
        if (edges[e].to < from->successor)
            from->successor = edges[e].to;
        if (edges[e].from + 1 > to->predecessor)
            to->predecessor = edges[e].from + 1;
    }
}

/* A node n counts as one before from position n + 1 to that of its first successor, and as one
 * after from the position after its last predecessor to n. */
static void count_pairs(struct step *steps, uint32_t nodes, const struct xs_edge *edges,
                        size_t count)
{
    for (uint32_t n = 0; n < nodes; n++) {
        steps[n + 1].last++;
        if (steps[n].successor < nodes)
            steps[steps[n].successor + 1].last--;
        steps[steps[n].predecessor].first++;
        steps[n + 1].first--;
    }
    for (size_t e = 0; e < count; e++) {
        uint32_t begin = steps[edges[e].to].predecessor, end = steps[edges[e].from].successor;
        if (begin <= end) {
            steps[begin].edges++;
            steps[end + 1].edges--;
        }
    }
}

uint32_t xs__graph_cuts(uint32_t nodes, const struct xs_edge *edges, size_t edge_count,
                        uint32_t *cuts)
{
    uint32_t count = 0;
    int64_t last = 0, first = 0, across = 0;
    struct step *steps = calloc((size_t)nodes + 1, sizeof *steps);
    if (steps == NULL)
        return 0;
    find_neighbours(steps, nodes, edges, edge_count);
    count_pairs(steps, nodes, edges, edge_count);
    for (uint32_t i = 0; i < nodes; i++) {
        last += steps[i].last;
        first += steps[i].first;
        across += steps[i].edges;
        if (i > 0 && across == last * first)
            cuts[count++] = i;
    }
    cuts[count++] = nodes;
    free(steps);
    return count;
}
