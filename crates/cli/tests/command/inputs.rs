//! What people give to the command, and what they are told.

use super::{bad, good, json, netsor, text, with_stdin};

/// Tables of semicolons, columns left out; what is no table is named with what to do.
#[test]
fn tables_of_other_programs_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain.csv", b"a,b,y\n1,2,0\n2,1,1\n3,3,0\n");
    let other = file("other.csv", "\u{feff}name;a;b;y;note\nzoë;1;2;0;-\nx;2;1;1;-\ny;3;3;0;-\n".as_bytes());
    let kernel = |file: &str, more: &[&str]| json(&[&["kernel", "--json", "--on", file][..], more].concat());
    assert_eq!(kernel(&plain, &[])["matrix"], kernel(&other, &["--drop", "name,note"])["matrix"]);
    let lists = ["limit", "examples/mlp.netsor", "--json", "--data"];
    let rows = file("rows.csv", b"1;0;0\n0;1;0\n0;0;1\n1;1;1\n");
    let numbers = |data: &str| json(&[&lists[..], &[data]].concat())["numbers"].clone();
    assert_eq!(numbers(&format!("xi={rows}")), numbers("xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,1]]"));

    let decimals = file("decimals.csv", b"1,5;2\n");
    assert!(bad(&["kernel", "--on", &decimals]).contains("with a point: `1.5`"));
    let archive = file("points.npz", b"PK\x03\x04");
    assert!(bad(&["kernel", "--on", &archive]).contains("as NPY or CSV"));
    assert!(bad(&[&lists[..], &[&format!("xi={archive}")]].concat()).contains("numpy.save"));
    assert!(bad(&["kernel", "--on", folder.path().to_str().unwrap()]).contains("a folder"));
}

const NORMALISED: &str = "network normalised {
  axis i = 3
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  h[i] = U * xi[i]
  moment s[i] = mean(h[i]^2)
  z[i] = relu(h[i] / sqrt(s[i]))
  output f[i] = v' * z[i]
}";

/// A quotient by 0 is traced to the vector and to the row of the data.
#[test]
fn rows_of_norm_zero_are_named() {
    let found = with_stdin(&["limit", "-", "--data", "xi=[[1,2],[0,0],[1,1]]"], NORMALISED);
    let printed = text(&found.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(printed.contains("/ 0 gives inf; the vector h[1] is 0, as is xi[1] of the data"), "{printed}");
    let folder = tempfile::tempdir().unwrap();
    let [network, points] = ["n.netsor", "p.csv"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&network, NORMALISED).unwrap();
    std::fs::write(&points, "1,2,0\n0,0,1\n2,1,0\n").unwrap();
    for command in [&["kernel"][..], &["ntk", "--points", "2", "--width", "16"]] {
        let error = bad(&[command, &[&network, "--on", &points, "--scale", "none"]].concat());
        assert!(error.contains("all features of point") && error.contains("--scale standard"), "{error}");
    }
}

/// A text table is as wide as it is told, and JSON has its lines in full.
#[test]
fn tables_fit_their_page() {
    let command = |columns: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_netsor"));
        command.args(["limit", "examples/tied.netsor"]).env("COLUMNS", columns).current_dir(super::root());
        text(&command.output().unwrap().stdout)
    };
    let widest = |text: String| text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest(command("70")) <= 70 && widest(good(&["limit", "examples/layernorm.netsor"])) <= 120);
    let table = json(&["limit", "examples/tied.netsor", "--json"])["table"].to_string();
    assert!(table.contains("it converges in law to a Gaussian process, not to a number; ask for its covariance"));
}

/// Strange sources and arguments end with code 2 and a sentence.
#[test]
fn strange_inputs_are_refused_with_a_sentence() {
    for (source, wanted) in [("", "no program"), ("\0\u{1}", "error"), ("program é {}", "error")] {
        let output = with_stdin(&["show", "-"], source);
        let message = text(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(wanted), "{source:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    assert!(bad(&["show", "examples"]).contains("examples"));
    assert!(bad(&["limit", "examples/mlp.netsor", "--data", "xi=[[1e999,0,0]]"]).contains("xi"));
    assert!(bad(&["limit", "examples/square.netsor", "--joint"]).contains("expected two or more"));
    assert_eq!(netsor(&["show", "examples/mlp.netsor", "-o", "/proc/no/such/file"]).status.code(), Some(2));
}
