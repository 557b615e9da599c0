/* test/api/layout.c: the public structs as C sees them, for cxx.cpp to compare. */
#include "layout.h"

const size_t layout_c[LAYOUT_COUNT] = { LAYOUT };
