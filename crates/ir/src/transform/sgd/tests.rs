//! Snapshots of training as programs; that they are right is tested by execution, beside `netsor-finite`.

use super::{Sgd, unroll_sgd};
use crate::network::Network;
use crate::number::{fraction, integer};
use crate::syntax::{parse_network, print_program};
use crate::verify::verify_program;

/// What training adds to the network and its backward pass.
#[track_caller]
fn added(network: &Network, sgd: &Sgd) -> String {
    let training = unroll_sgd(network, sgd).unwrap();
    let text = print_program(&training.program);
    verify_program(training.program).unwrap();
    let first = text.lines().position(|l| l.trim_start().starts_with("data y")).unwrap();
    text.lines().skip(first).map(str::trim_start).collect::<Vec<_>>().join("\n")
}

#[test]
fn two_steps_of_a_shallow_network() {
    let network = parse_network(
        "network shallow {
          axis i = 3
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          x[i] = tanh(h[i])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let weights = |k| (0..3).map(|j| integer(i64::from(j == k))).collect();
    let sgd = Sgd { steps: 2, rates: vec![fraction(1, 10)], batches: vec![weights(0), weights(1)], ..Sgd::default() };
    insta::assert_snapshot!(added(&network, &sgd));
}
