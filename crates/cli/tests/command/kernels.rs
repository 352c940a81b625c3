//! Kernels between outputs, and kernels of which only some exist.

use serde_json::Value;

use super::{bad, good, json, text, with_stdin};

const HEADS: &str = "network heads {
  axis i = 2
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  param w : n x 1 ~ N(0, 1/n)
  g[i] = U * xi[i]
  x[i] = relu(g[i])
  output f[i] = v' * x[i]
  output e[i] = v' * g[i]
  output d[i] = w' * x[i]
}";

/// The heads `f` and `e` as the members of one output.
const STACKED: &str = "network stacked {
  axis i = 2
  axis o = 2
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  g[i] = U * xi[i]
  stack x[o, i] = relu(g[i]), g[i]
  output s[o, i] = v' * x[o, i]
}";

const DATA: &str = "xi=[[1,0],[1,2]]";

fn limit(source: &str, more: &[&str]) -> Value {
    let output = with_stdin(&[&["limit", "-", "--json", "--data", DATA][..], more].concat(), source);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

fn of(limit: &Value, name: &str) -> Vec<f64> {
    let numbers = limit["numbers"].as_array().unwrap().iter().filter(|n| n["name"] == name);
    numbers.map(|n| n["value"].as_f64().unwrap()).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    // Each is known to 1e-10, the tolerance that is asked for by default.
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-10;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?} {expected:?}");
}

/// The kernels between two outputs: in closed form, as a block of the kernel of one output that holds both, and as the
/// compiled plan has them.
#[test]
fn outputs_have_kernels_between_them() {
    let joint = limit(HEADS, &["--joint"]);
    // Cov(g_a, g_b) = <xi_a, xi_b> / 2, and E relu(g_a) g_b is half of it, as is E relu'(g_a).
    let k = [0.5, 0.5, 0.5, 2.5];
    close(&of(&joint, "NNGP between f and e"), &k.map(|k| k / 2.0));
    close(&of(&joint, "NTK from v between f and e"), &k.map(|k| k / 2.0));
    close(&of(&joint, "NTK between f and e"), &k);
    close(&of(&joint, "NNGP between f and d"), &[0.0; 4]);
    close(&of(&joint, "NTK between f and d"), &[0.0; 4]);
    let stacked = limit(STACKED, &[]);
    for (kernel, between) in [("NNGP", "NNGP between f and e"), ("NTK", "NTK between f and e")] {
        // Over (o, i, o', i'): the entries with o = 0 and o' = 1.
        let all = of(&stacked, kernel);
        close(&of(&joint, between), &[all[2], all[3], all[6], all[7]]);
    }
    let folder = tempfile::tempdir().unwrap();
    let [network, points] = ["h.netsor", "p.csv"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&network, HEADS).unwrap();
    std::fs::write(&points, "1,0,0\n1,2,1\n").unwrap();
    let plan = |outputs: &str, kind: &str| -> Vec<f64> {
        let of =
            ["kernel", &network, "--on", &points, "--scale", "none", "--json", "--output", outputs, "--kind", kind];
        let rows = json(&of)["matrix"].as_array().unwrap().clone();
        rows.iter().flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap()).collect()
    };
    close(&plan("f,e", "nngp"), &of(&joint, "NNGP between f and e"));
    close(&plan("f,e", "ntk"), &of(&joint, "NTK between f and e"));
    close(&plan("d", "ntk"), &of(&joint, "NTK of d"));
    let turned = plan("e,f", "ntk");
    let [a, b, c, d] = plan("f,e", "ntk")[..] else { panic!("four entries") };
    close(&turned, &[a, c, b, d]);
    let error = bad(&["kernel", &network, "--on", &points, "--output", "f,q"]);
    assert!(error.contains("it has `f`, `e`, `d`"), "{error}");
}

const ROOT: &str = "network root {
  axis i = 2
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  g[i] = U * xi[i]
  x[i] = abs(g[i])^(1/2)
  output f[i] = v' * x[i]
}";

/// The derivative of `abs(h)^(1/2)` has no second moment, so that there is no tangent kernel; the covariance exists.
#[test]
fn a_covariance_is_found_where_there_is_no_tangent_kernel() {
    let found = limit(ROOT, &[]);
    // E |Z| of a Gaussian of variance 1/2, on the diagonal.
    let expected = (1.0 / std::f64::consts::PI).sqrt();
    assert!((of(&found, "NNGP")[0] - expected).abs() < 1e-10);
    assert!(of(&found, "NTK").is_empty());
    let missing: Vec<&str> = found["missing"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(missing, ["NTK", "NTK from U"]);
    let printed = text(&with_stdin(&["limit", "-", "--data", DATA], ROOT).stdout);
    assert!(printed.contains("\nno NTK[0,0], NTK from U[0,0]: in the expectation of"), "{printed}");
    let folder = tempfile::tempdir().unwrap();
    let [network, points] = ["r.netsor", "p.csv"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&network, ROOT).unwrap();
    std::fs::write(&points, "1,0,0\n1,2,1\n").unwrap();
    let kernel = ["kernel", &network, "--on", &points, "--scale", "none", "--kind"];
    assert!(good(&[&kernel[..], &["nngp"]].concat()).contains("0.56418958"));
    bad(&[&kernel[..], &["ntk"]].concat());
}
