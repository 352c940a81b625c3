//! Cross-crate tests: the engines against golden files, and against each other.

use netsor_ir::ValueId;
use netsor_ir::transform::{kernels, unroll_network};
use netsor_limit::{Data, Deriver, Evaluator};
use netsor_tests::goldens::{Counts, TIME_LIMIT, asked, limit_kernels, run_file};
use netsor_zoo::{Activation, Conv1d, Mlp, Network, Rnn, Tied};

use crate::files::golden_path;

/// Runs a file of which all cases pass, except `not_covered`.
#[track_caller]
fn passes(name: &str, not_covered: usize) {
    let mut complaints = Vec::new();
    let report = run_file(&golden_path(name), TIME_LIMIT, &mut |case, verdict| {
        if verdict.failed() {
            complaints.push(format!("{case}: {verdict}"));
        }
    });
    let Counts { passed, failed, not_covered: skipped } = report.counts();
    assert_eq!(failed, 0, "{name}: {complaints:#?}");
    assert_eq!(skipped, not_covered, "{name}: {:#?}", report.cases);
    assert!(0 < passed, "{name} has no case that passes");
}

#[test]
fn programs_of_the_z_calculus() {
    passes("programs/zcalculus.json", 0);
}

#[test]
fn limits_of_trained_networks() {
    for kind in ["mlp1", "mlp2", "mlp3", "rnn_last", "rnn_sum"] {
        passes(&format!("programs/ntk_train_{kind}.json"), 0);
    }
}

#[test]
fn explicit_weights() {
    passes("programs/ntk_exact_small.json", 0);
    passes("kernels/empirical.json", 0);
}

#[test]
fn kernels_of_layers() {
    // ExpNormalized belongs to no activation.
    passes("kernels/mlp.json", 1);
    passes("kernels/numerical.json", 0);
    passes("kernels/branch_norm_dropout.json", 0);
    passes("kernels/attention_graph.json", 0);
}

#[test]
fn duals_and_predictions() {
    passes("kernels/dual_mpmath.json", 0);
    passes("kernels/predict.json", 0);
}

#[test]
fn recurrent_networks_in_another_convention() {
    passes("kernels/tp_rnn.json", 0);
}

/// Files that are wrong in every way are not covered; they neither pass nor panic.
#[test]
fn malformed_files_are_not_covered() {
    let directory = std::env::temp_dir().join(format!("netsor-goldens-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let stems = [
        "zcalculus",
        "ntk_train_mlp2",
        "ntk_exact_small",
        "mlp",
        "numerical",
        "conv",
        "dual_mpmath",
        "predict",
        "empirical",
        "tp_rnn",
        "tp_gated",
        "tp_batchnorm",
        "tp_transformer",
        "something_else",
    ];
    let huge = r#"{"cases": [{"name": "a", "arch": [{"op": "Conv", "filter_shape": [4000000000], "padding": "SAME"},
        {"op": "Dense"}], "X1": [[[1]]], "X2": [[[1]]], "nngp_11": [[1]]}]}"#;
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "[1, 2]",
        "{}",
        r#"{"cases": 3}"#,
        r#"{"cases": [null, 1, {}, {"kind": []}]}"#,
        r#"{"programs": [{"name": "a", "vectors": ["v"], "cov": [[1]], "instr": [{"op": "nonlin", "out": "x", "expr": "("}]}]}"#,
        r#"{"programs": [{"name": "a", "vectors": ["v", "v"], "cov": [[1]], "instr": []}]}"#,
        r#"{"cases": [{"arch": [{"op": "Unknown"}], "X1": [[1]], "X2": [[1]]}]}"#,
        r#"{"cases": [{"arch": [{"op": "Relu"}], "X1": [[1], [1, 2]], "X2": [[1]]}]}"#,
        r#"{"kind": "mlp2", "d": 3, "T": 1, "X": [[[1, 2]]]}"#,
        huge,
    ];
    for stem in stems {
        for text in texts {
            let path = directory.join(format!("{stem}.json"));
            std::fs::write(&path, text).unwrap();
            let counts = run_file(&path, TIME_LIMIT, &mut |_, _| ()).counts();
            assert!(counts.passed == 0 && counts.failed == 0 && 0 < counts.not_covered, "{stem}: {text}: {counts}");
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The tangent kernel of an unrolled network, whose outputs are values of their own, by its own derivation.
fn unrolled_ntk(network: &Network, numbers: &[f64]) -> Vec<Vec<f64>> {
    let (plain, members) = unroll_network(network).unwrap();
    let xi = network.program.find("xi").unwrap();
    let per_member = numbers.len() / members[xi.index()].len();
    let mut data = Data::new();
    for (&member, numbers) in members[xi.index()].iter().zip(numbers.chunks(per_member)) {
        data = data.with(member, numbers.to_vec());
    }
    let kernels = kernels(&plain).unwrap();
    let mut deriver = Deriver::new(&kernels.program);
    let diagonal: Vec<_> = kernels.outputs.iter().map(|o| deriver.scalar(o.ntk).unwrap()).collect();
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, &kernels.program, &data, asked(1e-10)).unwrap();
    diagonal.iter().map(|&expr| vec![evaluator.value(expr, &[]).unwrap().value]).collect()
}

/// Unrolling changes the text of a program and nothing else: every output has the same tangent kernel with itself.
#[track_caller]
fn unrolls(network: &Network) {
    let xi: ValueId = network.program.find("xi").unwrap();
    let size: usize = network.program.family_sizes(xi).iter().product::<usize>() * 2;
    let numbers: Vec<f64> = (0..size).map(|k| (k as f64 * 0.7 + 0.3).sin()).collect();
    let families = limit_kernels(network, &Data::new().with(xi, numbers.clone()), asked(1e-10)).unwrap();
    let plain = unrolled_ntk(network, &numbers);
    for (k, row) in plain.iter().enumerate() {
        let found = families.ntk[k * plain.len() + k];
        // Integrals were asked to 1e-10; a few of them are added and multiplied by numbers of order one.
        assert!((found - row[0]).abs() < 1e-8, "output {k}: {found} against {}", row[0]);
    }
}

#[test]
fn unrolled_networks_have_the_same_kernel() {
    unrolls(&Mlp { inputs: 2, dim: 2, hidden: 2, b_std: 0.3, ..Mlp::default() }.network().unwrap());
    let erf = Activation::Erf;
    unrolls(&Tied { inputs: 2, dim: 2, activation: Activation::Identity, ..Tied::default() }.network().unwrap());
    unrolls(
        &Conv1d { inputs: 2, positions: 3, channels: 2, hidden: 2, activation: erf, ..Conv1d::default() }
            .network()
            .unwrap(),
    );
    unrolls(&Rnn { inputs: 2, dim: 2, readout: vec![0.5, 1.0], activation: erf, ..Rnn::default() }.network().unwrap());
}
