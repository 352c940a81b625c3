//! The binary on the programs in `examples/`: exit codes, JSON, diagnostics.

#[path = "command/inputs.rs"]
mod inputs;
#[path = "command/kernels.rs"]
mod kernels;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn netsor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netsor")).args(args).current_dir(root()).output().unwrap()
}

fn with_stdin(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netsor"))
        .args(args)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The standard output of a run that must end well.
#[track_caller]
fn good(args: &[&str]) -> String {
    let output = netsor(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    serde_json::from_str(&good(args)).unwrap()
}

/// The standard error of a run that must end with exit code 2.
#[track_caller]
fn bad(args: &[&str]) -> String {
    let output = netsor(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

#[test]
fn every_example_is_shown_and_drawn() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "netsor") {
            seen += 1;
            let file = path.to_str().unwrap();
            assert!(good(&["show", file]).contains("Thm B.4"), "{file}");
            assert!(json(&["show", file, "--json"]).as_array().is_some_and(|items| !items.is_empty()));
            assert!(good(&["show", file, "--draw", "svg"]).ends_with("</svg>\n"));
            assert!(good(&["show", file, "--draw", "dot", "--unroll"]).starts_with("digraph"));
        }
    }
    assert!(7 <= seen);
}

/// Lists of layers are taken wherever a program is; what is wrong with one is said with the layer.
#[test]
fn lists_of_layers_are_networks() {
    for name in ["cnn.toml", "transformer.toml", "gru.json"] {
        let file = format!("examples/layers/{name}");
        assert!(good(&["show", &file]).contains("network"), "{file}");
        assert!(good(&["show", &file, "--draw", "svg"]).ends_with("</svg>\n"));
    }
    let file = std::env::temp_dir().join(format!("netsor-layers-{}.toml", std::process::id()));
    std::fs::write(&file, "input = { channels = 2 }\nlayers = [{ op = 'dens' }]").unwrap();
    let message = bad(&["show", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert!(message.contains("layer 0 (dens): unknown layer `dens`; did you mean `dense`?"), "{message}");
}

#[test]
fn networks_have_a_backward_pass_and_kernels() {
    assert!(good(&["show", "examples/mlp.netsor", "--backprop"]).starts_with("program"));
    assert!(good(&["show", "examples/mlp.netsor", "--kernels"]).contains("moment"));
    assert!(bad(&["show", "examples/square.netsor", "--kernels"]).contains("only a network"));
}

/// W and W' in one forward pass break the Simple GIA Check; a kink leaves Theorem 5.3 unproved; a smooth MLP has all.
#[test]
fn theorems_name_what_is_missing() {
    let covers = |file: &str| -> Vec<String> {
        let theorems = json(&["show", file, "--json"])[0]["theorems"].clone();
        theorems.as_array().unwrap().iter().map(|t| t["cover"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(covers("examples/mlp.netsor"), ["covered"; 6]);
    assert_eq!(covers("examples/tied.netsor"), ["covered", "outside", "covered", "outside", "covered", "outside"]);
    let layer_norm = ["covered", "covered", "supported", "supported", "supported", "outside"];
    assert_eq!(covers("examples/layernorm.netsor"), layer_norm);
    assert_eq!(covers("examples/square.netsor"), ["covered"]);
    let tied = json(&["show", "examples/tied.netsor", "--json"])[0]["theorems"][1]["missing"][0].clone();
    assert_eq!(tied["hypothesis"]["matrix"], "W");
    assert!(tied["source"].as_str().unwrap().contains("D.4.2"));
}

/// The kernel of the tied network by three roads: the printed path formula is off, the one with return paths is not.
#[test]
fn paths_are_listed_and_summed() {
    let listed = good(&["show", "examples/figure2.netsor", "--paths"]);
    assert!(listed.contains("mlp, to f: 3 paths") && listed.contains("  x@1 -W-> h@2 -> x@2 -W-> h@3\n"), "{listed}");
    assert!(bad(&["show", "examples/square.netsor", "--paths"]).contains("is a program"));
    let data = ["--tolerance", "1e-5", "--data", "xi=[[1,0],[0,1],[1,1]]"];
    let output = json(&[&["limit", "examples/tied.netsor", "--paths", "--json"], &data[..]].concat());
    let first = |name: &str| {
        let numbers = output["numbers"].as_array().unwrap();
        numbers.iter().find(|n| n["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    assert!((first("NTK") - first("NTK by paths, with returns")).abs() < 1e-4);
    assert!((first("NTK") - first("NTK by paths, as printed")).abs() > 0.1);
}

#[test]
fn parse_errors_are_rendered_with_their_place() {
    let output = with_stdin(&["show", "-"], "program p {\n  vector a ~ N(0, 1)\n  y = tahn(a)\n}\n");
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("<stdin>:3:") && message.contains("did you mean `tanh`?"), "{message}");
    assert!(message.ends_with("<stdin>: 1 error\n"), "{message}");
}

#[test]
fn bad_inputs_end_with_code_two() {
    assert!(bad(&["show", "no/such/file.netsor"]).contains("no/such/file.netsor"));
    assert!(bad(&["limit", "examples/figure1.netsor"]).contains("`mlp`, `rnn`"));
    assert!(bad(&["limit", "examples/mlp.netsor", "--item", "rnn"]).contains("`mlp2`"));
    assert!(bad(&["limit", "examples/mlp.netsor", "--data", "xi=[1,2]"]).contains("expected 4 x 3 numbers, found 2"));
    let turned = bad(&["limit", "examples/tied.netsor", "--data", "xi=[[1,0,1],[1,2,2]]"]);
    assert!(turned.contains("expected 3 x 2 numbers, found 2 x 3"), "{turned}");
    assert!(bad(&["limit", "examples/mlp.netsor", "--data", "x=[1]"]).contains("it has `xi`"));
    assert!(bad(&["limit", "examples/mlp.netsor", "--data", "xi=[1,"]).contains("not a list"));
    assert!(bad(&["limit", "examples/square.netsor", "--moment", "a"]).contains("two names"));
    assert!(bad(&["limit", "examples/square.netsor", "--moment", "a,W"]).contains("not a vector"));
    assert!(bad(&["limit", "examples/square.netsor", "--tolerance", "nan"]).contains("positive"));
    assert!(bad(&["certify", "examples/square.netsor", "--widths", "0,0"]).contains("widths"));
    assert!(bad(&["predict", "--on", "nothing"]).contains("digits"));
    assert!(bad(&["predict", "--activation", "tahn"]).contains("relu"));
    assert!(bad(&["kernel", "--out", "k.txt"]).contains(".npy"));
    assert!(bad(&["train", "--batch", "0"]).contains("--batch 0"));
    bad(&["nonsense"]);
    let output = with_stdin(&["show", "-"], "");
    assert_eq!(output.status.code(), Some(2));
}

/// Options that would be ignored are refused.
#[test]
fn options_that_do_not_apply_are_refused() {
    let error = |command: &str| bad(&command.split_whitespace().collect::<Vec<_>>());
    assert!(error("kernel examples/mlp.netsor --on iris --activation tanh").contains("--activation"));
    assert!(error("kernel --zoo tied --on iris --b-std 1").contains("only --zoo mlp"));
    assert!(error("kernel --zoo tied --on iris --depth 3").contains("--zoo tied are fixed"));
    assert!(error("train --on iris --optimizer adam --momentum 0.9").contains("--optimizer sgd"));
    assert!(error("train --on iris --schedule cosine --warmup 6 --epochs 2").contains("the run has 4 steps"));
    assert!(error("train --on iris --n-train 150").contains("expected 1 to 149"));
    assert!(error("tune --on diabetes --by rate:v --n-train 10").contains("--kind ntk"));
    assert!(error("kernel examples/figure2.netsor --on iris").contains("choose one with --item: `mlp`"));
    assert!(error("kernel examples/figure2.netsor --item no --on iris").contains("no network `no`"));
    let file = std::env::temp_dir().join(format!("netsor-measured-{}.csv", std::process::id()));
    std::fs::write(&file, "a,b\n1,2.5\n2,3.5\n3,4.5\n").unwrap();
    assert!(error(&format!("predict --on {}", file.display())).contains("add --regression"));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn the_limit_of_the_square_is_one() {
    let result = json(&["limit", "examples/square.netsor", "--json", "--moment", "b,b"]);
    let values: Vec<f64> = result["numbers"].as_array().unwrap().iter().map(|n| n["value"].as_f64().unwrap()).collect();
    // E Z^b Z^b = 2: one from the Gaussian part, one from the return path. Algebra, so exact.
    assert_eq!(values, [1.0, 2.0]);
    let rules: Vec<&str> = result["table"].as_array().unwrap().iter().map(|r| r["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["Matrix", "ZInit", "ZHat", "ZHat + ZDot", "ZMoment"]);
    assert!(good(&["limit", "examples/square.netsor", "--latex"]).contains("\\hat{Z}^{b}"));
}

#[test]
fn a_network_has_kernels_that_add_up() {
    let data = "xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,1]]";
    let result = json(&["limit", "examples/mlp.netsor", "--json", "--data", data]);
    let of = |name: &str| -> Vec<f64> {
        let numbers = result["numbers"].as_array().unwrap();
        numbers.iter().filter(|n| n["name"] == name).map(|n| n["value"].as_f64().unwrap()).collect()
    };
    let (ntk, nngp) = (of("NTK"), of("NNGP"));
    assert_eq!((ntk.len(), nngp.len()), (16, 16));
    for (k, total) in ntk.iter().enumerate() {
        let parts: f64 = ["U", "W", "v"].iter().map(|p| of(&format!("NTK from {p}"))[k]).sum();
        // Each is known to 1e-10, the tolerance that is asked for by default.
        assert!((total - parts).abs() < 4e-10);
        // The share of the readout is the NNGP.
        assert!((of("NTK from v")[k] - nngp[k]).abs() < 2e-10);
    }
    assert!(good(&["limit", "examples/mlp.netsor"]).contains("no numbers: give the data"));
}

/// Four programs and seven numbers of the square: the margins are the command's, seed 0.
#[test]
fn simulation_certifies_a_corpus() {
    let files = ["square", "echo", "there_and_back", "remark_b6"].map(|name| format!("examples/{name}.netsor"));
    let mut args = vec!["certify", "--json", "--widths", "32,64,128", "--seeds", "512", "--margin", "0.1"];
    args.extend(files.iter().map(String::as_str));
    let result = json(&args);
    assert_eq!(result["verdict"], "holds", "{result}");
    let programs = result["programs"].as_array().unwrap();
    assert_eq!(programs.len(), 4);
    assert_eq!(programs[0]["numbers"].as_array().unwrap().len(), 7);
    assert!(programs.iter().all(|p| p["without_limit"].as_array().unwrap().is_empty()));
}

/// The limit under gradient independence is wrong where a matrix and its transpose meet, and then the tests fail; where
/// they do not meet it is right.
#[test]
fn certification_finds_wrong_limits() {
    let wrong = ["certify", "--json", "--widths", "32,64,128", "--seeds", "128", "--gradient-independence"];
    let output = netsor(&[&wrong[..], &["examples/echo.netsor"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let result: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let verdict = |name: &str| {
        let numbers = result["programs"][0]["numbers"].as_array().unwrap();
        numbers.iter().find(|n| n["name"] == name).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    // m = E tanh'(Z) by the echo, and 0 without.
    assert_eq!([verdict("m"), verdict("E_a_b")], ["fails", "fails"]);
    assert_ne!(verdict("E_a_a"), "fails");
}

/// A sample is said to be one, and data are drawn where none are given.
#[test]
fn a_sample_of_a_network_is_certified() {
    let args = ["certify", "examples/mlp.netsor", "--widths", "16,32", "--seeds", "16", "--max-numbers", "5"];
    let page = good(&args);
    assert!(page.contains("drawn from N(0, 1): xi") && page.contains("more numbers were left out"), "{page}");
    assert!(bad(&["certify", "examples/figure1.netsor", "--data", "xi=[1]"]).contains("2 were found"));
}

#[test]
fn formats_are_checked() {
    good(&["fmt", "--check", "examples/square.netsor", "examples/figure7.netsor", "examples/figure1.netsor"]);
    let messy = "program   p{vector a~N(0,1)}";
    let output = with_stdin(&["fmt", "--stdin"], messy);
    assert_eq!(text(&output.stdout), "program p {\n  vector a ~ N(0, 1)\n}\n");
    assert_eq!(with_stdin(&["fmt", "--stdin", "--check"], messy).status.code(), Some(1));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.netsor");
    std::fs::write(&file, messy).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(netsor(&["fmt", "--check", file]).status.code(), Some(1));
    assert_eq!(json(&["fmt", "--json", file])["changed"].as_array().unwrap().len(), 1);
    good(&["fmt", "--check", file]);
}

#[test]
fn kernels_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("k.csv");
    let args = ["kernel", "--on", "iris", "--n-points", "6", "--depth", "1", "--json", "--out", file.to_str().unwrap()];
    assert_eq!(json(&args)["points"], 6);
    let rows: Vec<Vec<f64>> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| line.split(',').map(|x| x.parse().unwrap()).collect())
        .collect();
    assert_eq!(rows.len(), 6);
    for (i, row) in rows.iter().enumerate() {
        // One hidden layer, sigma_w^2 = 2, points on |x|^2 = d: 2 from the readout and 2 from the input weights.
        assert!((row[i] - 4.0).abs() < 1e-7, "{row:?}");
        assert!((0..6).all(|j| row[j] == rows[j][i]));
    }
}

/// Without biases the kernel of a ReLU network with two hidden layers is of degree 6 in its standard deviations.
#[test]
fn kernels_have_derivatives() {
    let args = ["kernel", "--on", "iris", "--n-points", "6", "--json", "--kind", "nngp"];
    let diagonal = |more: &[&str]| json(&[&args[..], more].concat())["mean_diagonal"].as_f64().unwrap();
    let (kernel, slope) = (diagonal(&[]), diagonal(&["--derivative", "weights"]));
    assert!((slope - 6.0 * kernel).abs() <= 1e-12 * slope, "{slope} {kernel}");
    assert!(bad(&[&args[..], &["--derivative", "nothing"]].concat()).contains("expected weights, biases"));
}

#[test]
fn wide_networks_predict_digits_and_finite_ones_learn_iris() {
    let args = ["predict", "--on", "digits", "--n-train", "150", "--n-test", "100", "--depth", "1", "--json"];
    let result = json(&args);
    let accuracy = |k: usize| result["models"][k]["test_accuracy"].as_f64().unwrap();
    // Chance is 0.1; ridge regression on 150 points reaches about 0.85.
    assert!(0.85 < accuracy(0), "{result}");
    assert_eq!(result["models"].as_array().unwrap().len(), 4);

    // Regression: the error is a share of the variance, and kernels explain a good part of it.
    let result = json(&["predict", "--on", "diabetes", "--json"]);
    assert!(result["models"][0]["test_error"].as_f64().unwrap() < 0.8, "{result}");

    let lines = good(&["train", "--on", "iris", "--width", "64", "--batch", "20", "--epochs", "5", "--json"]);
    let epochs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(epochs.len(), 6);
    let error = |k: usize| epochs[k]["train_error"].as_f64().unwrap();
    assert!(error(5) < 0.5 * error(0), "{lines}");
}

/// A run that goes on from its check-point prints what an uninterrupted one does; another run does not go on from it.
#[test]
fn training_goes_on_from_its_check_point() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.state");
    let state = state.to_str().unwrap();
    let run = |epochs: &str, schedule: &str, more: &[&str]| -> Vec<String> {
        let args =
            ["--on", "iris", "--width", "32", "--batch", "50", "--learning-rate", "0.02", "--schedule", schedule];
        let rule = ["--optimizer", "adam", "--parametrization", "mup-adam", "--epochs", epochs, "--json"];
        [&["train"][..], &args[..], &rule[..], more].concat().into_iter().map(str::to_owned).collect()
    };
    let good = |args: Vec<String>| good(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = good(run("4", "cosine", &[]));
    // A run that is over has nothing left to do.
    assert_eq!(good(run("4", "cosine", &["--checkpoint", state, "--checkpoint-every", "1"])), whole);
    assert_eq!(good(run("4", "cosine", &["--checkpoint", state])), "");
    let refused = |args: Vec<String>| bad(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let error = refused(run("4", "linear", &["--checkpoint", state]));
    assert!(error.contains("belongs to another run"), "{error}");
    let error = refused(run("6", "cosine", &["--checkpoint", state]));
    assert!(error.contains("a --schedule is laid over all --epochs"), "{error}");
}

/// A run that is complete is extended by more epochs: steps at a constant rate, and a flow in parts of the same time.
#[test]
fn complete_runs_are_extended() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["train", "--on", "iris", "--width", "16", "--n-train", "30", "--warmup", "3", "--json", "--epochs"];
    let flow = ["train", "--on", "iris", "--width", "8", "--n-train", "20", "--json", "--flow", "--epochs"];
    for (name, run, first, last) in
        [("steps", &common[..], &["2"][..], &["5"][..]), ("flow", &flow, &["1", "--time", "1"], &["3", "--time", "3"])]
    {
        let state = folder.path().join(name);
        let kept = ["--checkpoint", state.to_str().unwrap()];
        let whole = good(&[run, last].concat());
        let start = good(&[run, first, &kept].concat());
        let rest = good(&[run, last, &kept].concat());
        assert_eq!(start + &rest, whole, "{name}");
        let again = netsor(&[run, first, &kept].concat());
        assert!(again.stdout.is_empty() && text(&again.stderr).contains("epochs already"), "{name}");
    }
}

/// Training stops where it diverges, says where, and leaves the last good state, from which a kernel can be taken.
#[test]
fn divergence_keeps_the_last_good_state() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.state");
    let kept = ["--checkpoint", state.to_str().unwrap()];
    for precision in ["f32", "f64"] {
        let run =
            ["train", "--on", "iris", "--width", "32", "--batch", "40", "--epochs", "40", "--precision", precision];
        let rate = ["--learning-rate", "40", "--loss", "(f - y)^2", "--json"];
        let error = bad(&[&run[..], &rate, &kept, &["--checkpoint-every", "1"]].concat());
        assert!(error.contains("diverged in step") && error.contains("root mean square"), "{error}");
        let ntk = ["ntk", "--on", "iris", "--width", "32", "--points", "3", "--json", "--precision", precision];
        let kernel = json(&[&ntk[..], &kept].concat());
        assert!(0 < kernel["steps"].as_u64().unwrap(), "{kernel}");
        assert!(kernel["ntk"]["mean"].as_array().unwrap().iter().all(|k| k.as_f64().unwrap().is_finite()));
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["run.state"]);
        std::fs::remove_file(&state).unwrap();
    }
}

/// An interrupt ends with code 130 and a whole check-point, from which the run goes on to the numbers of an
/// uninterrupted one.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_whole_check_point() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.state");
    let run = |kept: &[&str]| {
        let args = ["train", "--on", "iris", "--width", "64", "--batch", "40", "--epochs", "400", "--json"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsor"));
        command.args(args).args(["--learning-rate", "0.05"]).args(kept).current_dir(root());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let kept = ["--checkpoint", state.to_str().unwrap()];
    let mut first = run(&kept).spawn().unwrap();
    while !state.exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended before its first check-point");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    let first = first.wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(130), "{}", text(&first.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no half file is left");
    let (rest, whole) = (run(&kept).output().unwrap(), run(&[]).output().unwrap());
    assert_eq!(text(&first.stdout) + &text(&rest.stdout), text(&whole.stdout));
}

/// Gradient flow has the losses of descent with short steps, in both precisions, and goes on from its check-point.
#[test]
fn gradient_flow_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.state");
    let common = ["train", "--on", "iris", "--width", "16", "--n-train", "30", "--activation", "tanh", "--json"];
    let losses = |more: &[&str]| -> Vec<f64> {
        let lines = good(&[&common[..], more].concat());
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["train_loss"].as_f64().unwrap()).collect()
    };
    let flow = losses(&["--flow", "--time", "2", "--epochs", "2"]);
    assert_eq!(flow.len(), 3);
    // 200 steps of 1/100: the error of Euler's method is of the order of a step.
    let steps = losses(&["--batch", "30", "--learning-rate", "0.01", "--epochs", "200"]);
    for (time, flow) in flow.iter().enumerate() {
        let euler = steps[100 * time];
        assert!((flow - euler).abs() < 0.02 * flow, "{flow} {euler}");
    }
    let single = losses(&["--flow", "--time", "2", "--epochs", "2", "--precision", "f32"]);
    assert!(flow.iter().zip(&single).all(|(a, b)| (a - b).abs() < 1e-4), "{flow:?} {single:?}");
    let kept = ["--flow", "--time", "2", "--epochs", "2", "--checkpoint", state.to_str().unwrap()];
    assert_eq!(losses(&kept), flow);
    assert_eq!(losses(&kept), [0.0; 0], "it is over");
    let error = bad(&[&common[..], &["--flow", "--momentum", "0.9"]].concat());
    assert!(error.contains("no momentum"), "{error}");
}

/// The kernel after steps, its product with a vector, and what is refused.
#[test]
fn kernels_at_any_time_of_training() {
    let ntk = ["ntk", "--on", "iris", "--width", "32", "--points", "2", "--learning-rate", "0.2", "--json"];
    let after = json(&[&ntk[..], &["--steps", "5"]].concat());
    assert_eq!(after["steps"], 5);
    let kernel: Vec<f64> = after["ntk"]["mean"].as_array().unwrap().iter().map(|k| k.as_f64().unwrap()).collect();
    let start = json(&ntk);
    assert_ne!(after["ntk"], start["ntk"]);
    let product = json(&[&ntk[..], &["--steps", "5", "--vector=1,-2,0,0.5,0,3"]].concat());
    let vector = [1.0, -2.0, 0.0, 0.5, 0.0, 3.0];
    for (i, found) in product["product"].as_array().unwrap().iter().enumerate() {
        let expected: f64 = (0..6).map(|j| kernel[6 * i + j] * vector[j]).sum();
        // Two passes through the network against moments: rounding.
        assert!((found.as_f64().unwrap() - expected).abs() < 1e-10 * (1.0 + expected.abs()), "{found} {expected}");
    }
    let two = json(&[&ntk[..], &["--steps", "5", "--draws", "2"]].concat());
    assert!(two["ntk"]["standard_error"].is_array());
    assert!(bad(&[&ntk[..], &["--vector", "1,2"]].concat()).contains("expected 6 finite ones"));
    // A layer list, and data from a file.
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.toml");
    let layers = "input = { inputs = 2, channels = 4 }\n[[layers]]\nop = \"dense\"\n[[layers]]\nop = \"relu\"\n";
    std::fs::write(&list, format!("{layers}[[layers]]\nop = \"dense\"\n")).unwrap();
    let data = folder.path().join("data.csv");
    std::fs::write(&data, "a,b,c,d,y\n1,2,3,4,0\n2,1,0,1,1\n0,3,1,2,1\n4,1,2,0,0\n").unwrap();
    let list = [list.to_str().unwrap(), "--on", data.to_str().unwrap(), "--width", "16", "--json"];
    assert_eq!(json(&[&["ntk", "--points", "2"][..], &list].concat())["size"], 2, "a list has one output");
}

#[test]
fn coordinates_are_checked_against_the_exponents() {
    let args = ["coordcheck", "--on", "iris", "--activation", "tanh", "--w-std", "1", "--widths", "64,128,256,512"];
    let rule = |name| ["--parametrization", name, "--learning-rate", "0.2", "--json", "--steps", "2"];
    let result = json(&[&args[..], &rule("mup")[..]].concat());
    let lines = result["quantities"].as_array().unwrap();
    assert_eq!(lines.len(), 15);
    let of = |name: &str| lines.iter().find(|line| line["quantity"] == name).unwrap();
    assert_eq!(of("change of h@2 in 2 steps")["predicted"], 0.0);
    assert_eq!(of("f")["predicted"], -0.5);
    assert_eq!(of("change of x@2 in 2 steps")["verdict"], "holds", "{result}");
}

/// Biases, residual connections and Adam: no prediction fails, those of muP and of the kernel regime differ.
#[test]
fn exponents_of_other_networks_and_of_adam() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("residual.netsor");
    let network = "network residual {
      axis i = 4
      data xi[i] : 4
      param U : n x 4 ~ N(0, 1/4)
      param b : n ~ N(0, 1)
      param W : n x n ~ N(0, 1/n)
      param v : n x 3 ~ N(0, 1/n)
      h[i] = U * xi[i]
      x[i] = tanh(h[i] + b)
      g[i] = W * x[i]
      y[i] = x[i] + tanh(g[i])
      output f[i] = v' * y[i]
    }";
    std::fs::write(&file, network).unwrap();
    let of = |more: &[&str]| {
        let args = ["coordcheck", file.to_str().unwrap(), "--on", "iris", "--batch", "8", "--json", "--steps", "2"];
        let result = json(&[&args[..], &["--widths", "64,128,256,512"], more].concat());
        let lines = result["quantities"].as_array().unwrap().clone();
        assert!(lines.iter().all(|line| line["predicted"].is_number() && line["verdict"] != "fails"), "{result}");
        let of = |name: &str| lines.iter().find(|line| line["quantity"] == name).unwrap()["predicted"].clone();
        [of("change of g in 2 steps"), of("change of f in 2 steps")]
    };
    let adam = ["--optimizer", "adam", "--learning-rate", "0.01"];
    assert_eq!(of(&["--parametrization", "mup", "--learning-rate", "0.1"]), [0.0, 0.0]);
    assert_eq!(of(&["--parametrization", "ntp", "--learning-rate", "0.1"]), [-0.5, 0.0]);
    assert_eq!(of(&[&["--parametrization", "mup-adam"][..], &adam].concat()), [0.0, 0.0]);

    // A normalisation is a scalar: no prediction, and the reason.
    let normalised = "moment m[i] = mean(x[i]^2)\n z[i] = x[i] / (1 + m[i])^(1/2)\n g[i] = W * z[i]";
    std::fs::write(&file, network.replace("g[i] = W * x[i]", normalised)).unwrap();
    let args = ["coordcheck", file.to_str().unwrap(), "--on", "iris", "--seeds", "2", "--widths", "32,64", "--json"];
    let result = netsor(&[&args[..], &["--learning-rate", "0.1", "--precision", "f32"]].concat());
    let result: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert!(result["unpredicted"].as_str().unwrap().contains("a scalar that the network computes"), "{result}");
}

#[test]
fn help_has_examples_and_shells_are_served() {
    for command in ["show", "fmt", "limit", "certify", "kernel", "predict", "train", "ntk", "coordcheck"] {
        assert!(good(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    assert!(good(&["completions", "bash"]).contains("netsor"));
    assert!(good(&["reproduce", "--list"]).lines().count() > 0);
}

/// A reader that stops early ends the command quietly.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netsor"))
        .args(["show", "examples/mlp.netsor"])
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty());
}

/// The hierarchy's command: numbers, a figure, the limit, warnings and refusals.
#[test]
fn nth_compares_truncations_and_adds_the_limit() {
    let figure = std::env::temp_dir().join(format!("netsor-nth-{}.svg", std::process::id()));
    let path = figure.to_str().unwrap();
    let points = "xi=[[1,0,0],[0,1,0],[1,0,0],[0,1,0]]";
    let run = ["nth", "examples/mlp.netsor", "--data", points, "--targets", "1,-1", "--width", "64"];
    let output = netsor(&[&run[..], &["--time", "0.5", "--figure", path, "--limit", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("inputs 0 and 2 are parallel"), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["network"][0].as_array().unwrap().len(), 4);
    // At a short time p = 3 is closer to the network than p = 2; points 0 and 2 are the same.
    let error = |k: usize| {
        let of = |v: &Value, a: usize| v[0][a].as_f64().unwrap();
        (0..2).map(|a| (of(&found["truncated"][k]["f"], a) - of(&found["network"], a)).abs()).fold(0.0, f64::max)
    };
    assert!(error(1) < 0.5 * error(0), "{} {}", error(0), error(1));
    let mean = &found["limit"]["mean"][0];
    assert!((mean[0].as_f64().unwrap() - mean[2].as_f64().unwrap()).abs() < 1e-6);
    assert!(found["limit"]["n_shift"][0][0].as_f64().unwrap().is_finite());
    assert!(std::fs::read_to_string(&figure).unwrap().contains("<svg"));
    std::fs::remove_file(&figure).unwrap();

    let refused = netsor(&[&run[..], &["--memory", "1e-6"]].concat());
    assert_ne!(refused.status.code(), Some(0));
    assert!(text(&refused.stderr).contains("raise it"), "{}", text(&refused.stderr));
}

/// Error bars of a width: their parts add up, and what cannot be computed is refused with the way out.
#[test]
fn predict_has_error_bars_of_a_width() {
    let run = ["predict", "--on", "diabetes", "--depth", "1", "--n-train", "5", "--n-test", "2", "--time", "20,0"];
    let bars = |extra: &[&str]| netsor(&[&run[..], &["--width", "64", "--draws", "8"], extra].concat());
    let output = bars(&["--activation", "erf", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let points = found["width"]["test"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    for (k, point) in points.iter().enumerate() {
        let of = |name: &str| point[name].as_f64().unwrap();
        assert!((of("mean") - of("limit") - of("initial") - of("movement")).abs() < 1e-12);
        assert!(0.0 < of("deviation") && 0.0 <= of("initial_error"));
        // At time 0, which comes first whatever the order on the command line, nothing has moved.
        assert_eq!(of("time"), if k < 2 { 0.0 } else { 20.0 });
        assert_eq!(of("mean") == 0.0, k < 2);
    }
    let table = bars(&["--activation", "erf"]);
    assert!(text(&table.stdout).contains("none was trained"), "{}", text(&table.stdout));
    let kinked = bars(&["--activation", "relu"]);
    assert!(text(&kinked.stderr).contains("softplus"), "{}", text(&kinked.stderr));
    let run = ["predict", "--on", "digits", "--n-train", "50", "--n-test", "2", "--time", "1", "--width", "64"];
    let large = netsor(&[&run[..], &["--activation", "erf"]].concat());
    assert!(text(&large.stderr).contains("lower --n-train"), "{}", text(&large.stderr));
    let timeless = netsor(&["predict", "--on", "diabetes", "--width", "64"]);
    assert!(text(&timeless.stderr).contains("--time"), "{}", text(&timeless.stderr));
}

#[test]
fn transforms_are_applied_in_order() {
    // Only a network is differentiated, and only once.
    let message = bad(&["transform", "examples/mlp.netsor", "kernels", "backprop"]);
    assert!(message.contains("only a network has a backward pass"), "{message}");
    let message = bad(&["transform", "examples/mlp.netsor", "sgd", "--batch", "0,7"]);
    assert!(message.contains("`7` in the batch `0,7` is not an example; there are 4"), "{message}");
    let message = bad(&["transform", "examples/mlp.netsor", "sgd", "--loss", "f -"]);
    assert!(message.contains("the loss `f -` is not an expression"), "{message}");
    let message = bad(&["transform", "examples/mlp.netsor", "sgd", "--exponent", "0"]);
    assert!(message.contains("training cannot be conditioned"), "{message}");
    let message = bad(&["transform", "examples/mlp.netsor", "dce", "--keep", "nobody"]);
    assert!(message.contains("no value `nobody`"), "{message}");

    // What comes out is a program again: through the command a second time nothing changes.
    let args = ["sgd", "cse", "dce", "--steps", "2", "--batch", "0:1/2,1:1/2", "--batch", "2", "--rate", "0.5,0.25"];
    let file = ["transform", "examples/mlp.netsor"];
    let text = good(&[&file[..], &args[..]].concat());
    assert!(text.contains("table batch_0[i] = [0.5, 0.5, 0, 0]"), "{text}");
    assert!(text.contains("scalar f_2[i] ="), "{text}");
    let again = with_stdin(&["transform", "-", "cse", "dce", "--keep", "f_0,f_1,f_2"], &text);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    let report = json(&[&file[..], &args[..], &["--json"]].concat());
    assert_eq!(report["results"], serde_json::json!(["f_0", "f_1", "f_2"]));
    assert_eq!(report["text"].as_str(), Some(text.as_str()));

    let reduced = good(&["transform", "examples/tied.netsor", "reduce", "unroll"]);
    assert!(reduced.contains("output f@2 = v' * x3@2"), "{reduced}");
    let higher = json(&["transform", "examples/tied.netsor", "tangent", "--order", "4", "--frozen", "cse", "--json"]);
    assert_eq!(higher["results"].as_array().map(Vec::len), Some(3));
    let kernels = json(&["transform", "examples/mlp.netsor", "kernels", "cse", "dce", "--json"]);
    assert_eq!(kernels["results"], serde_json::json!(["ntk", "nngp"]));
    assert!(good(&["transform", "examples/mlp.netsor", "backprop"]).contains("dz_h[i] = W' * dh[i]"));
}

#[test]
fn tuning_raises_the_likelihood_and_writes_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tuned.netsor");
    let path = file.to_str().unwrap();
    let small = ["--on", "diabetes", "--n-train", "20", "--n-test", "20", "--fixed-noise", "--noise", "0.5", "--json"];
    let relu =
        [&["tune", "--activation", "relu", "--b-std", "0.5", "--steps", "3", "--out", path], &small[..]].concat();
    let tuned = json(&relu);
    let likelihood = |report: &Value, when: &str| report["log_likelihood"][when].as_f64().unwrap();
    assert!(likelihood(&tuned, "start") < likelihood(&tuned, "tuned"), "{tuned}");
    assert!(tuned["hyper_parameters"]["noise"].is_null(), "{tuned}");
    // The file has what was found, in the digits of a floating-point number.
    let again = json(&[&["tune", path, "--steps", "1"], &small[..]].concat());
    let difference = likelihood(&again, "start") - likelihood(&tuned, "tuned");
    assert!(difference.abs() < 1e-12, "{difference}");
    let written = std::fs::read_to_string(path).unwrap();
    let longest = written.split(|c: char| !c.is_ascii_digit() && c != '.').map(str::len).max().unwrap();
    assert!(longest <= 19, "{written}");

    let missing = bad(&[&["tune", "--by", "nobody"], &small[..]].concat());
    assert!(missing.contains("expected weights, biases, rate:NAME, NAME=START or one of"), "{missing}");
    let missing = bad(&[&["tune", "--by", "slope=0.1"], &small[..]].concat());
    assert!(missing.contains("has no single number `data slope`"), "{missing}");
}
