//! The targets and their properties.

use netsor_data::{Column, CsvOptions, Header, Matrix, Target as Columns, parse_csv, parse_idx, parse_npy, to_npy};
use netsor_ir::draw::{DrawOptions, draw_dot, draw_svg};
use netsor_ir::syntax::{Document, Item, format, parse};
use netsor_ir::transform::{Seed, backprop, kernels, unroll_network, unroll_program};
use netsor_ir::verify::{verify_network, verify_program};
use netsor_ir::{Program, theorem};

/// A property of bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its regressions.
    pub name: &'static str,
    /// The folder of inputs to start from.
    pub corpus: &'static str,
    /// Panics if the property fails.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "parser", corpus: "text", run: parser },
    Target { name: "round_trip", corpus: "text", run: round_trip },
    Target { name: "transforms", corpus: "text", run: transforms },
    Target { name: "document", corpus: "document", run: document },
    Target { name: "csv", corpus: "csv", run: csv },
    Target { name: "idx", corpus: "idx", run: idx },
    Target { name: "npy", corpus: "npy", run: npy },
];

/// Any text has an answer, and errors can be drawn: their spans lie in the source.
fn parser(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    match parse(&source) {
        Ok(items) => assert!(!items.is_empty() || source.trim().is_empty() || !source.contains('{')),
        Err(errors) => {
            assert!(!errors.list.is_empty(), "an error without a diagnostic");
            let text = errors.render(&source, "input");
            assert!(text.contains("error"), "{text}");
        }
    }
    // Formatting is idempotent.
    if let Ok(once) = format(&source) {
        let twice = format(&once).expect("formatted text can be formatted");
        assert_eq!(once, twice);
    }
}

/// parse -> verify -> print -> parse is the identity on programs.
fn round_trip(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let Ok(items) = parse(&source) else { return };
    for parsed in items {
        let printed = parsed.item.print();
        let again = parse(&printed).unwrap_or_else(|e| panic!("{}\n{printed}", e.render(&printed, "print")));
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].item.print(), printed);
        match parsed.item {
            Item::Program(program) => drop(verify_program(program).expect("what is parsed is verified")),
            Item::Network(network) => drop(verify_network(network).expect("what is parsed is verified")),
        }
    }
}

/// Members of all families together, and positions of sums; what is larger is left out to keep a run short.
fn is_small(program: &Program) -> bool {
    let members: u64 = program
        .value_ids()
        .map(|id| program.family_sizes(id).iter().map(|&s| s as u64).fold(1, u64::saturating_mul))
        .fold(0, u64::saturating_add);
    let axes = program.axes.iter().map(|a| u64::from(a.size)).fold(1, u64::saturating_mul);
    let outputs = program
        .values
        .iter()
        .all(|v| !matches!(v.ty.kind, netsor_ir::Kind::Vector(netsor_ir::Dim::Finite(size)) if 64 < size));
    members <= 2000 && axes <= 2000 && outputs && program.exprs.len() <= 5000
}

/// Every transform, drawing and check of a well-formed program ends without a panic, and its result is well-formed.
fn transforms(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let Ok(items) = parse(&source) else { return };
    for parsed in items {
        let program = parsed.item.program();
        if !is_small(program) {
            continue;
        }
        let options = DrawOptions { unroll: true, ..DrawOptions::default() };
        let _ = draw_svg(&[program], &options);
        let _ = draw_dot(&[program], &options);
        let well_formed = |program: Program| {
            if let Err(errors) = verify_program(program) {
                panic!("a transform made an ill-formed program: {errors}");
            }
        };
        match &parsed.item {
            Item::Program(program) => {
                theorem::of_program(program);
                if let Ok((plain, _)) = unroll_program(program) {
                    well_formed(plain);
                }
            }
            Item::Network(network) => {
                theorem::of_network(network);
                if let Ok((plain, _)) = unroll_network(network)
                    && let Err(errors) = verify_network(plain)
                {
                    panic!("unrolling made an ill-formed network: {errors}");
                }
                for seed in [Seed::Components, Seed::Cotangents] {
                    if let Ok(backward) = backprop(network, seed) {
                        well_formed(backward.program);
                    }
                }
                if let Ok(kernels) = kernels(network) {
                    well_formed(kernels.program);
                }
            }
        }
    }
}

/// Any JSON has an answer, and what is a document is written as it was read.
fn document(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else { return };
    let Ok(items) = document.items() else { return };
    let json = serde_json::to_string(&document).expect("a document can be written");
    assert_eq!(serde_json::from_str::<Document>(&json).expect("and read"), document);
    let core = Document::of_items(&items).expect("items of a document make a document");
    assert_eq!(core.items().expect("which has items").len(), items.len());
}

/// Tables: the first byte chooses the options. Every number of a data set is finite.
fn csv(bytes: &[u8]) {
    let (&choice, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let delimiter = [b',', b';', b'\t', b' '][usize::from(choice & 3)];
    let header = [Header::Auto, Header::Present, Header::Absent][usize::from(choice >> 2) % 3];
    let target = match (choice >> 4) % 4 {
        0 => Columns::Class(Column::Last),
        1 => Columns::Class(Column::Name("class".to_owned())),
        2 => Columns::Values(vec![Column::Index(0), Column::Last]),
        _ => Columns::Values(vec![Column::Index(usize::from(choice >> 6))]),
    };
    let Ok(data) =
        parse_csv("input", rest, &CsvOptions { delimiter: Some(delimiter), header, target, ..CsvOptions::default() })
    else {
        return;
    };
    assert!(data.inputs().as_slice().iter().all(|x| x.is_finite()));
    assert_eq!(data.inputs().as_slice().len(), data.inputs().n_rows() * data.inputs().n_cols());
}

/// Arrays have as many entries as their axes say.
fn idx(bytes: &[u8]) {
    let Ok(array) = parse_idx("input", bytes) else { return };
    assert_eq!(array.shape.iter().product::<usize>(), array.entries.len());
}

/// What is read can be written and read again, bit by bit.
fn npy(bytes: &[u8]) {
    let Ok(matrix) = parse_npy("input", bytes) else { return };
    let again = parse_npy("again", &to_npy(&matrix)).expect("what was written can be read");
    assert_eq!((matrix.n_rows(), matrix.n_cols()), (again.n_rows(), again.n_cols()));
    let bits = |m: &Matrix| m.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&matrix), bits(&again));
}
