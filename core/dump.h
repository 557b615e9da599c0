/* core/dump.h: the tree of scopes and children as text, for reports. */
#ifndef TH_DUMP_H
#define TH_DUMP_H
#include "node.h"

/* What is below `top`, at most TH_DUMP_LINES lines, each with a newline before it. Takes node locks from `top` downward;
 * `top` stays live meanwhile. */
enum { TH_DUMP_LINES = 24 };
void th_dump_below(struct th_node *top, char *text, size_t bytes);
/* "deadline", "sibling failed", … for thrum_reason.kind. */
const char *th_reason_text(unsigned kind);

#endif
