/* thrum.h: the whole public API. Each topic has a header short enough to read in one go. */
#ifndef THRUM_H
#define THRUM_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/rt.h>
#include <thrum/scope.h>
#include <thrum/combine.h>
#include <thrum/clock.h>
#include <thrum/sync.h>
#include <thrum/io.h>
#endif
