//! The binary on the programs in `examples/`: exit codes, JSON, diagnostics.

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
    assert!(bad(&["limit", "examples/mlp.netsor", "--data", "xi=[1,2]"]).contains("expected 12 numbers, found 2"));
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

#[test]
fn simulation_certifies_the_square() {
    let args =
        ["certify", "examples/square.netsor", "--json", "--widths", "32,64,128", "--seeds", "400", "--margin", "0.1"];
    let result = json(&args);
    assert_eq!(result["verdict"], "holds", "{result}");
    assert_eq!(result["tests"].as_array().unwrap().len(), 7);
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
    let other = run("4", "linear", &["--checkpoint", state]);
    let error = bad(&other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("belongs to another run"), "{error}");
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
