/* SPDX-License-Identifier: GPL-2.0 */
/* splitmix64: every thread of every episode has a stream of its own. */
#ifndef FUZZ_RNG_H
#define FUZZ_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* The stream that belongs to `number` of what `seed` stands for. */
static inline struct rng rng_of(uint64_t seed, uint64_t number)
{
	return (struct rng){ rng_mix(seed + UINT64_C(0x9e3779b97f4a7c15) * (number + 1)) };
}

static inline uint64_t rng_next(struct rng *rng)
{
	return rng_mix(rng->state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint32_t below(struct rng *rng, uint32_t n)
{
	return (rng_next(rng) >> 32) * n >> 32;
}

static inline bool one_in(struct rng *rng, uint32_t n)
{
	return !below(rng, n);
}

#endif
