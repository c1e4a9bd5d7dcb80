/* Threads that share the work of one call.
 *
 * Work is a row of phases, each of some chunks. Whoever is there takes the next chunk; a phase
 * begins when all chunks of the one before are done. Nobody waits for a thread that has not come,
 * so a busy or a small pool makes a call slower, and never stops it.
 */
#ifndef QLRJAX_TEAM_H
#define QLRJAX_TEAM_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct team {
  atomic_int references; /* the call, and every helper that was asked */
  atomic_int inside;     /* helpers at work; below 0 when the call is over */
  atomic_ullong next;    /* phase in the high word, chunk in the low one */
  int phases;
  int (*chunks)(const void *work, int phase);
  void (*run)(const void *work, int phase, int chunk);
  const void *work;
  atomic_int done[];
} team;

#define CLOSED (-(1 << 20))

static void team_rest(int *turns) {
  if (++*turns > 200) {
    sched_yield();
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void team_work(team *t) {
  int turns = 0;
  for (;;) {
    unsigned long long ticket = atomic_load_explicit(&t->next, memory_order_acquire);
    int phase = (int)(ticket >> 32), chunk = (int)(ticket & 0xffffffffu);
    if (phase >= t->phases) return;
    int chunks = t->chunks(t->work, phase);
    if (chunk >= chunks) {
      team_rest(&turns);
      continue;
    }
    if (!atomic_compare_exchange_weak(&t->next, &ticket, ticket + 1)) continue;
    turns = 0;
    t->run(t->work, phase, chunk);
    if (atomic_fetch_add_explicit(&t->done[phase], 1, memory_order_acq_rel) + 1 == chunks)
      atomic_store_explicit(&t->next, (unsigned long long)(phase + 1) << 32, memory_order_release);
  }
}

static void team_leave(team *t) {
  if (atomic_fetch_sub(&t->references, 1) == 1) free(t);
}

/* What a pool's thread runs; it may come late, when the call is over. */
static void team_help(void *data) {
  team *t = data;
  if (atomic_fetch_add(&t->inside, 1) >= 0) team_work(t);
  atomic_fetch_sub(&t->inside, 1);
  team_leave(t);
}

static team *team_new(int phases) {
  team *t = calloc(1, sizeof(team) + (size_t)phases * sizeof(atomic_int));
  if (!t) return NULL;
  t->phases = phases;
  atomic_store(&t->references, 1);
  return t;
}

/* Ends the call: helpers inside finish, those that come later go away again. */
static void team_close(team *t) {
  int turns = 0, expected = 0;
  while (!atomic_compare_exchange_weak(&t->inside, &expected, CLOSED)) {
    team_rest(&turns);
    expected = 0;
  }
  team_leave(t);
}

#endif
