//! Snapshots of training as programs; that they are right is tested by execution, beside `netsor-finite`.

use super::{Loss, Sgd, unroll_sgd};
use crate::network::Network;
use crate::number::{fraction, integer, power};
use crate::syntax::{parse_network, print_program};
use crate::transform::{TransformError, cse, dce, unroll_program};
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

/// In muP the readout has variance 1/n^2: its initial value is a Moment, and nothing is conditioned on.
#[test]
fn plain_steps_where_features_are_learned() {
    let network = parse_network(
        "network mup {
          axis i = 2
          data xi[i] : 1
          param U : n x 1 ~ N(0, 1) with a = -1/2, b = 1/2, c = 0
          param v : n x 1 ~ N(0, 1/n^2) with a = 1/2, b = 1/2, c = 0
          h[i] = U * xi[i]
          x[i] = tanh(h[i])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let sgd = Sgd { exponent: power(0, 1), ..Sgd::default() };
    assert!(unroll_sgd(&network, &sgd).unwrap().conditions.is_empty());
    insta::assert_snapshot!(added(&network, &sgd));
}

/// Why a readout cannot be conditioned on, in the words of the error.
#[test]
fn readouts_that_cannot_be_conditioned_on() {
    let refusal = |body: &str, exponent| {
        let text = format!("network n {{\n axis i = 2\n data xi[i] : 2\n param U : n x 2 ~ N(0, 1/2)\n{body}\n}}");
        let network = parse_network(&text).unwrap();
        unroll_sgd(&network, &Sgd { exponent, ..Sgd::default() }).unwrap_err().to_string()
    };
    let half = power(1, 2);
    let plain = "param v : n x 1 ~ N(0, 1/n)\n x[i] = U * xi[i]\n output f[i] = v' * x[i]";
    insta::assert_snapshot!(refusal(plain, power(0, 1)));
    let large = "param v : n x 1 ~ N(0, 1)\n x[i] = U * xi[i]\n output f[i] = v' * x[i]";
    insta::assert_snapshot!(refusal(large, half));
    let twice = "param V : n x 2 ~ N(0, 1/n)\n x[i] = V * xi[i]\n output f[i] = V' * x[i]";
    insta::assert_snapshot!(refusal(twice, half));
    let feedback = "param V : n x 2 ~ N(0, 1/n)\n x[i] = U * xi[i]\n r[i] = V' * x[i]\n y[i] = U * r[i]\n \
                    output f[i] = V' * y[i]";
    insta::assert_snapshot!(refusal(feedback, half));
    let early = "param b : 2 ~ N(0, 1)\n param v : n x 1 ~ N(0, 1/n)\n s[i] = xi[i] + b\n x[i] = U * s[i]\n \
                 output f[i] = v' * x[i]";
    insta::assert_snapshot!(refusal(early, half));
}

#[test]
fn options_that_do_not_fit() {
    let network = two_hidden_layers();
    let refusal = |sgd: &Sgd| unroll_sgd(&network, sgd).unwrap_err().to_string();
    let cases = [
        Sgd { rates: vec![], ..first_step() },
        Sgd { exponent: power(-1, 2), ..first_step() },
        Sgd { batches: vec![vec![integer(1)]], ..first_step() },
    ];
    insta::assert_snapshot!(cases.map(|sgd| refusal(&sgd)).join("\n"));
    // Not an expression; two definitions; another name; an index that there is not.
    for text in ["f -", "f - y\n data z", "f - g", "f[0]"] {
        let error = unroll_sgd(&network, &Sgd { loss: Loss::Value(text.into()), ..first_step() }).unwrap_err();
        assert!(matches!(error, TransformError::Loss { .. }), "{text}: {error}");
    }
    let nothing = unroll_sgd(&network, &Sgd { steps: 0, rates: vec![], ..Sgd::default() }).unwrap();
    assert_eq!((nothing.outputs[0].at.len(), nothing.outputs[0].chi.len()), (1, 0));
}
