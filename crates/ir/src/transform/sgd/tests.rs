//! Snapshots of training as programs; that they are right is tested by execution, beside `netsor-finite`.

use super::{Sgd, unroll_sgd};
use crate::network::Network;
use crate::number::{fraction, integer};
use crate::syntax::{parse_network, print_program};
use crate::transform::{cse, dce, unroll_program};
use crate::verify::verify_program;

/// The network of TP IIb App. A.2 with only the matrix in the middle trained; member 0 is for training, member 1 for
/// testing.
fn two_hidden_layers() -> Network {
    parse_network(
        "network two_hidden_layers {
          axis i = 2
          vector g[i] ~ N(0, 1)
          param W : n x n ~ N(0, 1/n)
          matrix v : n x 1 ~ N(0, 1/n)
          z[i] = tanh(g[i])
          h[i] = W * z[i]
          x[i] = tanh(h[i])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap()
}

fn first_step() -> Sgd {
    Sgd { batches: vec![vec![integer(1), integer(0)]], ..Sgd::default() }
}

/// Algorithm 1 (with `h := W z`, see the errata), line for line, where the paper's names are
///
/// | paper | here |
/// | --- | --- |
/// | input `g`, `g~`; `f` | `vector g@0`, `vector g@1`; `data f_0@0` |
/// | `v` | `dx`, which is `sqrt(n) v` with entries `N(0, 1)` |
/// | `chi := L'(f)` | `chi_0@0` |
/// | `z := phi(g)`, `z~ := phi(g~)` | `z@0`, `z@1` |
/// | `h := W z`, `h~ := W z~` | `h@0`, `h@1` |
/// | `theta := z' z~ / n` | `m_z_z@0@1` |
/// | `dh := phi'(h) v` | `dh@0` |
/// | `delta h~ := -chi theta dh` | `delta_h_1@1` |
/// | `delta x~ := sqrt(n) (phi(h~ + delta h~ / sqrt(n)) - phi(h~))` | `delta_x_1@1` |
/// | `f~_1 - f~ := v' delta x~ / n` | `m_v_column_delta_x_1@1` |
#[test]
fn algorithm_1_line_for_line() {
    let training = unroll_sgd(&two_hidden_layers(), &first_step()).unwrap();
    let (plain, members) = unroll_program(&training.program).unwrap();
    let test = members[training.outputs[0].at[1].index()][1];
    let (merged, images) = cse(&plain, &[test]).unwrap();
    let (program, _) = dce(&merged, &[images[test.index()].value]).unwrap();
    insta::assert_snapshot!(print_program(&program));
    verify_program(program).unwrap();
}

/// The same over the family of inputs.
#[test]
fn algorithm_1_for_all_inputs() {
    let training = unroll_sgd(&two_hidden_layers(), &first_step()).unwrap().simplified().unwrap();
    insta::assert_snapshot!(print_program(&training.program));
    verify_program(training.program).unwrap();
}

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
