//! Snapshots of what the transforms print: read them as the mathematics they should be.

use super::{Direction, DirectionMode, Seed, Tangents, backprop, kernels, unroll_network};
use crate::network::Network;
use crate::syntax::{parse_network, print_network, print_program};
use crate::verify::verify_program;

fn example(name: &str) -> Network {
    let path = format!("{}/../../examples/{name}.netsor", env!("CARGO_MANIFEST_DIR"));
    parse_network(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The definitions that a transform adds, one a line; the result must verify.
#[track_caller]
fn added(network: &Network, program: &crate::Program) -> String {
    verify_program(program.clone()).unwrap();
    let text = print_program(program);
    let first = network.program.values.len();
    let names: Vec<String> = program.values[first..].iter().map(|v| v.name.clone()).collect();
    text.lines()
        .filter(|line| {
            let words = line.trim_start().trim_start_matches("moment ").trim_start_matches("scalar ");
            let name: String = words.chars().take_while(|c| !matches!(c, '[' | ' ')).collect();
            names.contains(&name)
        })
        .map(str::trim_start)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn kernels_of_an_mlp() {
    let network = example("mlp");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

#[test]
fn kernels_with_a_matrix_and_its_transpose() {
    let network = example("tied");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

#[test]
fn kernels_of_a_convolution() {
    let network = example("conv");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

/// Statistics over the batch tie every output to every input: the output's index becomes one of the adjoints'.
#[test]
fn adjoints_through_batch_statistics_have_the_outputs_index() {
    let network = parse_network(
        "network centred {
          axis i = 3
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          x[i] = tanh(h[i] - 1/3 * sum i' h[i'])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    insta::assert_snapshot!(added(&network, &backprop(&network, Seed::Components).unwrap().program));
}

/// A Moment's adjoint carries its power of n; nothing is dropped here (TP IIb App. D.4.5).
#[test]
fn moments_are_differentiated() {
    let network = parse_network(
        "network normed {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          moment s[i] = mean(h[i]^2)
          x[i] = h[i] / sqrt(s[i] + 0.01)
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    insta::assert_snapshot!(added(&network, &backprop(&network, Seed::Cotangents).unwrap().program));
}

#[test]
fn the_first_kernel_of_the_hierarchy() {
    let network = parse_network(
        "network shallow {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          x[i] = tanh(h[i])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let kernels = kernels(&network).unwrap();
    let direction = Direction::new(&network, &kernels.adjoints[0]);
    let mut tangents = Tangents::new(kernels.program.clone(), direction, DirectionMode::Live);
    tangents.apply(&[kernels.outputs[0].ntk]).unwrap();
    insta::assert_snapshot!(added(&network, &tangents.program));
}

#[test]
fn unrolling_writes_every_member_out() {
    let network = parse_network(
        "network small {
          axis i = 2
          axis p = 2
          data xi[i, p] : 1
          param U[p] : n x 1 ~ N(0, 1)
          param v : n x 1 ~ N(0, 1/n)
          g[i, p] = U[p] * xi[i, p]
          x[i] = relu(sum p [p <= i] g[i, p])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let (unrolled, members) = unroll_network(&network).unwrap();
    assert_eq!(members[0].len(), 4);
    insta::assert_snapshot!(print_network(&unrolled));
}
