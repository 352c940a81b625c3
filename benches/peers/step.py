"""A training step and an empirical tangent kernel in JAX: the peer of `step.rs`, timed in turn with it.

The step: full-batch gradient descent on a perceptron of three hidden layers of tanh, 784 inputs, one output, the NTK
parametrization, float32. The kernel: the same network at half the width for a quarter of the points, by the fastest of
two ways, whole Jacobians contracted, or forward vectors and adjoints contracted layer by layer (what structured
derivatives do). Each round runs Netsor's bench (which times its bare products too), then JAX, so that a busy machine
slows both.

    pip install jax==0.4.25 jaxlib==0.4.25 'numpy<2' 'scipy<1.13'
    cargo bench --profile dev -p netsor-benches --bench step --no-run
    python benches/peers/step.py [WIDTH BATCH [ROUNDS]]
"""

import re
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

DIM = 784
HIDDEN = 3
RUNS = 5


def problem(width, batch):
    draw = np.random.default_rng(0).standard_normal
    shapes = [(width, DIM)] + [(width, width)] * (HIDDEN - 1) + [(1, width)]
    weights = [jnp.asarray(draw(shape), jnp.float32) for shape in shapes]
    return weights, jnp.asarray(draw((batch, DIM)), jnp.float32)


def outputs(weights, x):
    *hidden, readout = weights
    for w in hidden:
        x = jnp.tanh(x @ w.T / np.sqrt(w.shape[1]))
    return (x @ readout.T / np.sqrt(readout.shape[1]))[:, 0]


def loss(weights, x):
    return jnp.mean((outputs(weights, x) - 1.0) ** 2) / 2


@jax.jit
def step(weights, x):
    return [w - 1e-3 * g for w, g in zip(weights, jax.grad(loss)(weights, x))]


@jax.jit
def kernel_of_jacobians(weights, x):
    jacobian = jax.jacrev(outputs)(weights, x)
    flat = [j.reshape(j.shape[0], -1) for j in jacobian]
    return sum(j @ j.T for j in flat)


@jax.jit
def kernel_by_layers(weights, x):
    """Adjoints of every preactivation, for all inputs at once: inputs do not mix."""

    def shifted(shifts):
        y, inputs = x, []
        for w, shift in zip(weights, shifts):
            inputs.append(y)
            y = y @ w.T / np.sqrt(w.shape[1]) + shift
            if w is not weights[-1]:
                y = jnp.tanh(y)
        return jnp.sum(y), inputs

    shifts = [jnp.zeros((x.shape[0], w.shape[0]), jnp.float32) for w in weights]
    adjoints, inputs = jax.grad(shifted, has_aux=True)(shifts)
    return sum((y @ y.T) * (a @ a.T) / y.shape[1] for y, a in zip(inputs, adjoints))


def seconds(function, *arguments):
    function(*arguments)[0].block_until_ready()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function(*arguments)[0].block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def netsor(width, batch):
    command = ["cargo", "bench", "--profile", "dev", "-p", "netsor-benches", "--bench", "step", "--"]
    text = subprocess.run([*command, str(width), str(batch)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"products ([0-9.]+) s, (?:step|kernel) ([0-9.]+) s", text)
    return [float(number) for pair in found for number in pair]


def main():
    numbers = [int(argument) for argument in sys.argv[1:]]
    width, batch, rounds = (numbers + [4096, 256, 3][len(numbers) :])[:3]
    for _ in range(rounds):
        floor, own, kernel_floor, own_kernel = netsor(width, batch)
        jax_step = seconds(step, *problem(width, batch))
        small = problem(width // 2, batch // 4)
        kernels = [seconds(kernel, *small) for kernel in (kernel_of_jacobians, kernel_by_layers)]
        print(
            f"step/{width}/{batch}: products {floor:.4f}, netsor {own:.4f} ({own / floor:.2f}), jax {jax_step:.4f}; "
            f"ntk/{width // 2}/{batch // 4}: products {kernel_floor:.4f}, netsor {own_kernel:.4f} "
            f"({own_kernel / kernel_floor:.2f}), jax {kernels[0]:.4f} (Jacobians), {kernels[1]:.4f} (layers)",
            flush=True,
        )


if __name__ == "__main__":
    main()
