"""The kernels of the neural tangent hierarchy by nested forward derivatives in JAX: the peer of `hierarchy.rs`.

K2(a, b) = <grad f_a, grad f_b>, and K(r+1)(.., c) is the derivative of K(r)(..) along grad f_c. Every derivative is a
`jax.jvp`, batched over all index tuples with `vmap`, compiled with `jit`; float64, two hidden layers of tanh, 10
inputs, the paper's parametrization. What is timed is the compiled function on explicit weights.

    pip install jax==0.4.25 jaxlib==0.4.25 'numpy<2' 'scipy<1.13'
    python benches/peers/hierarchy.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

DIM = 10
RUNS = 21


def problem(points, width):
    draw = np.random.default_rng(0).standard_normal
    weights = [draw((width, DIM)), draw((width, width)), draw(width)]
    return [jnp.asarray(w) for w in weights], jnp.asarray(draw((points, DIM)))


def output(weights, x):
    first, second, readout = weights
    width = readout.shape[0]
    x = jnp.tanh(first @ x) / jnp.sqrt(width)
    x = jnp.tanh(second @ x) / jnp.sqrt(width)
    return readout @ x


def gradient(weights, x):
    return jax.grad(output)(weights, x)


def kernel2(weights, a, b):
    pairs = zip(gradient(weights, a), gradient(weights, b))
    return sum(jnp.vdot(x, y) for x, y in pairs)


def raised(kernel):
    """The kernel of the next order."""

    def next_kernel(weights, *arguments):
        *first, last = arguments
        direction = (gradient(weights, last),)
        return jax.jvp(lambda w: kernel(w, *first), (weights,), direction)[1]

    return next_kernel


def on_all_tuples(kernel, order):
    for k in reversed(range(order)):
        axes = [None] + [0 if k == j else None for j in range(order)]
        kernel = jax.vmap(kernel, in_axes=axes)
    return jax.jit(lambda weights, x: kernel(weights, *[x] * order))


def main():
    kernel = kernel2
    for order, points in [(3, 16), (4, 6)]:
        width = 256
        kernel = raised(kernel)
        compiled = on_all_tuples(kernel, order)
        weights, x = problem(points, width)
        start = time.perf_counter()
        compiled(weights, x).block_until_ready()
        compiling = time.perf_counter() - start
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            compiled(weights, x).block_until_ready()
            seconds.append(time.perf_counter() - start)
        print(f"jax/K{order}/{points}/{width}: compiling {compiling:.2f} s, run {np.median(seconds):.5f} s", flush=True)


if __name__ == "__main__":
    main()
