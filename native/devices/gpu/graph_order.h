/* graph_order.h - in which order the nodes of a graph run, and where it may be cut. Nodes are
 * numbers here, and edges are pairs of them: this file knows no driver. */
#ifndef XS_GRAPH_ORDER_H
#define XS_GRAPH_ORDER_H

#include "base/base.h"

struct xs_edge {
    uint32_t from, to; /* `from` ends before `to` begins */
};

/* Sort the nodes topologically: order[i] is the node at position i. Afterwards *edges hold
 * positions instead of nodes, each edge once, and *edge_count is lower where some were there
 * twice. XS_EINVAL for a circle, which no driver makes; XS_ENOMEM. */
int xs__graph_order(uint32_t nodes, struct xs_edge *edges, size_t *edge_count, uint32_t *order,
                    struct xs_error *err);

/* Write the positions where the graph may be cut, and return their number: at most `nodes`.
 * `edges` is what xs__graph_order() left. 0: no memory.
 *
 * A cut makes all nodes after it wait for all nodes before it. It is allowed where they do so
 * anyway, by the edges: no two nodes on its two sides may run at the same time. Therefore every
 * topological order has the same cuts. */
uint32_t xs__graph_cuts(uint32_t nodes, const struct xs_edge *edges, size_t edge_count,
                        uint32_t *cuts);

#endif
