//! Pictures of programs in the conventions of TP IIb (Figure 1 and App. C).
//!
//! | what is drawn | what it is |
//! | --- | --- |
//! | empty circle | G-var: an initial vector, or a vector made by MATMUL |
//! | filled circle | X-var: a vector made by NONLIN |
//! | square | scalar |
//! | rhombus | vector of constant dimension: data and readouts, which the papers leave out |
//! | dashed edge | multiplication by the matrix that it is labelled with |
//! | gate | NONLIN, with its function |
//! | gate with a bar on the side of its output | MOMENT, or a function of scalars |
//!
//! A node with a shadow is a family. The computation runs from left to right, and where it is wider than
//! a page, in rows: an arrow leaves a row, and the next one begins with the names of what it goes on with.
//!
//! [`draw_svg`] lays the graph out by itself (Sugiyama: layers by longest path, long edges as chains of dummies,
//! barycentre sweeps, least-squares coordinates); [`draw_dot`] writes it for those who have Graphviz. The same program
//! gives the same picture to the last byte. Labels are in a monospaced font, because their widths must be known here.
//!
//! ```
//! use netsor_ir::draw::{DrawOptions, draw_dot, draw_svg};
//!
//! let program = netsor_ir::syntax::parse_program("program p {
//!   matrix W ~ N(0, 1/n)
//!   vector a ~ N(0, 1)
//!   y = W * a
//!   x = tanh(y)
//! }")?;
//! let svg = draw_svg(&[&program], &DrawOptions::default())?;
//! assert!(svg.starts_with("<svg") && svg.contains(">tanh</text>"));
//! assert!(draw_dot(&[&program], &DrawOptions::default())?.contains("style=dashed"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bands;
mod diagram;
mod dot;
mod layers;
mod order;
mod place;
mod svg;

use std::borrow::Cow;

use crate::program::Program;
use crate::transform::{TransformError, unroll_program};

use diagram::Diagram;

/// Most nodes, with those that long edges pass through, that are laid out.
const LIMIT: usize = 20_000;

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawOptions {
    /// One node a member instead of one a family.
    pub unroll: bool,
    /// An explanation of the symbols below the picture (SVG only).
    pub legend: bool,
    /// Pixels after which a picture goes on in a row below (SVG only).
    pub width: u32,
}

impl Default for DrawOptions {
    fn default() -> Self {
        Self { unroll: false, legend: true, width: 1200 }
    }
}

/// Why a program cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// A picture that nobody could read.
    #[error("`{name}` needs a picture of at least {needed} nodes, more than the limit of {limit}; write DOT instead")]
    TooLarge {
        /// The program.
        name: String,
        /// Nodes, with those on long edges, counted until the limit was passed.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// It cannot be unrolled.
    #[error(transparent)]
    Unroll(#[from] TransformError),
}

/// Programs as one SVG picture, one below the other.
///
/// It follows the light or dark scheme of the reader; set the CSS variables `--netsor-ink` and `--netsor-paper` to
/// choose colours.
///
/// # Errors
/// If a program is too large, or cannot be unrolled.
pub fn draw_svg(programs: &[&Program], options: &DrawOptions) -> Result<String, DrawError> {
    let diagrams = diagrams(programs, options)?;
    let drawn = diagrams.iter().map(|d| Ok((d, place::place(d, LIMIT)?))).collect::<Result<Vec<_>, DrawError>>()?;
    Ok(svg::write(&drawn, options))
}

/// Programs as graphs for Graphviz.
///
/// # Errors
/// If a program cannot be unrolled.
pub fn draw_dot(programs: &[&Program], options: &DrawOptions) -> Result<String, DrawError> {
    Ok(diagrams(programs, options)?.iter().map(dot::write).collect::<Vec<_>>().join("\n"))
}

fn diagrams(programs: &[&Program], options: &DrawOptions) -> Result<Vec<Diagram>, DrawError> {
    let one = |program: &&Program| -> Result<Diagram, DrawError> {
        let program: Cow<'_, Program> =
            if options.unroll { Cow::Owned(unroll_program(program)?.0) } else { Cow::Borrowed(*program) };
        Ok(Diagram::new(&program))
    };
    programs.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
