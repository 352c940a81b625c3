//! The syntax tree: what was written, with its spans and comments.
//!
//! The tree keeps parentheses, loops and the spelling of numbers, so that [`crate::syntax::format`] can give a file
//! back. What it means is the business of the elaborator.

use std::ops::Range;

use crate::number::Number;

/// A stretch of the source, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// From the start of `self` to the end of `last`.
    pub(crate) fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end.max(self.start) }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        let clip = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: clip(range.start), end: clip(range.end) }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start as usize..span.end as usize
    }
}

/// A whole source.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) items: Vec<Item>,
    /// Comments after the last item.
    pub(crate) rest: Vec<Trivia>,
}

/// What stands between statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trivia {
    /// A comment on a line of its own, with its `#`.
    Comment(String),
    /// One or more blank lines.
    Blank,
}

/// `program name { ... }` or `network name { ... }`.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) before: Vec<Trivia>,
    pub(crate) network: bool,
    pub(crate) name: Ident,
    pub(crate) body: Block,
    pub(crate) span: Span,
    pub(crate) after: Option<String>,
}

/// A plain identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// Statements between braces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) statements: Vec<Statement>,
    /// Comments before the closing brace.
    pub(crate) rest: Vec<Trivia>,
}

/// One line of an item.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) before: Vec<Trivia>,
    pub(crate) kind: StatementKind,
    pub(crate) span: Span,
    /// A comment on the same line.
    pub(crate) after: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum StatementKind {
    /// `axis name = size`
    Axis { name: Ident, size: Integer },
    /// `width name = ratio * n`
    Width { name: Ident, ratio: Expr },
    /// `table name[axes] = entries`
    Table { name: Ident, binders: Vec<Binder>, entries: Entries },
    /// A value.
    Def(Box<Definition>),
    /// `for t in range { ... }`
    For { variable: Ident, range: LoopRange, body: Block },
    /// A line with a syntax error; the name that it would have defined, so that its users are not reported.
    Broken { name: Option<Ident> },
}

/// `low ..= high` or `low .. high`, over integers and loop variables.
#[derive(Clone, Debug)]
pub(crate) struct LoopRange {
    pub(crate) low: Affine,
    pub(crate) inclusive: bool,
    pub(crate) high: Affine,
}

/// A non-negative integer literal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integer {
    pub(crate) value: u32,
    pub(crate) span: Span,
}

/// Entries of a table: nested lists, or a number.
#[derive(Clone, Debug)]
pub(crate) enum Entries {
    Number(Expr),
    List(Vec<Entries>, Span),
}

/// The name of a value: an identifier with `@` parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Name {
    pub(crate) base: String,
    pub(crate) parts: Vec<Affine>,
    pub(crate) span: Span,
}

/// An index variable that is introduced: `i`, `i'` or `p in pos`.
#[derive(Clone, Debug)]
pub(crate) struct Binder {
    /// The name with its primes.
    pub(crate) name: Ident,
    pub(crate) axis: Option<Ident>,
}

/// An affine expression over index variables: `2*p + k - 1`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affine {
    pub(crate) terms: Vec<Term>,
    pub(crate) span: Span,
}

/// `coefficient * variable`, or a constant.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) coefficient: i64,
    pub(crate) variable: Option<Ident>,
}

/// The definition of a value.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) output: bool,
    pub(crate) name: Name,
    pub(crate) binders: Vec<Binder>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// `data c`, `data c : scalar`, `data xi : 3`
    Data { dim: Option<Dimension> },
    /// `matrix W : n x n ~ N(0, 1/n)`
    Matrix { dims: Option<(Dimension, Dimension)>, law: Law },
    /// `vector a : n ~ N(0, 1), cov(b) = 1/2`
    Vector { dim: Option<Dimension>, law: Law },
    /// `param W : n x n ~ N(0, 1/n) frozen with a = 1/2`
    Param { dims: (Dimension, Option<Dimension>), law: Law, frozen: bool, settings: Vec<Setting> },
    /// `const e[c] : 3 = T[c]`
    Constant { dim: Dimension, table: Reference },
    /// `y = W * a` or `y : n = tanh(x)`
    Plain { dim: Option<Dimension>, value: Expr },
    /// `moment m = mean(...)`
    Moment { value: Expr },
    /// `scalar s = ...`
    Scalar { value: Expr },
    /// `stack x[t] = x@1, x@2`
    Stack { items: StackItems },
}

#[derive(Clone, Debug)]
pub(crate) enum StackItems {
    List(Vec<Expr>),
    /// `x@t for t in 1..=3`
    Each {
        item: Box<Expr>,
        variable: Ident,
        range: LoopRange,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Dimension {
    Width(Ident),
    Finite(Integer),
    /// The word `scalar` after `data c :`.
    Scalar(Span),
}

/// `~ N(mean, covariance) joint, cov(a[i]) = ...`
#[derive(Clone, Debug)]
pub(crate) struct Law {
    pub(crate) mean: Expr,
    pub(crate) covariance: Expr,
    /// `joint`: the covariance holds for any two members even though it mentions no second copy of the indices.
    pub(crate) joint: bool,
    pub(crate) cross: Vec<Cross>,
}

#[derive(Clone, Debug)]
pub(crate) struct Cross {
    pub(crate) with: Name,
    pub(crate) binders: Vec<Ident>,
    pub(crate) value: Expr,
    pub(crate) span: Span,
}

/// `a = 1/2` or `multiplier^2 = 2` after `with`.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) key: SettingKey,
    pub(crate) value: Expr,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingKey {
    A,
    B,
    C,
    Multiplier,
    MultiplierSquared,
}

impl SettingKey {
    pub(crate) fn text(self) -> &'static str {
        match self {
            SettingKey::A => "a",
            SettingKey::B => "b",
            SettingKey::C => "c",
            SettingKey::Multiplier => "multiplier",
            SettingKey::MultiplierSquared => "multiplier^2",
        }
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// A literal, as it was spelled.
    Number {
        text: String,
        value: Number,
    },
    Reference(Reference),
    /// `W'`
    Transposed(Reference),
    Neg(Box<Expr>),
    /// `first + a - b`: operators of one precedence, from the left. Flat, so that long sums are not deep.
    Chain {
        first: Box<Expr>,
        rest: Vec<(Operator, Expr)>,
    },
    Pow {
        base: Box<Expr>,
        exponent: (i64, i64),
    },
    Call {
        function: Ident,
        arguments: Vec<Expr>,
    },
    Sum {
        binders: Vec<Binder>,
        guards: Vec<GuardText>,
        body: Box<Expr>,
    },
    Paren(Box<Expr>),
}

/// `name` or `name[i, 0]`.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) name: Name,
    pub(crate) indices: Vec<Affine>,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
}

/// `[left relation right mod modulus]`
#[derive(Clone, Debug)]
pub(crate) struct GuardText {
    pub(crate) left: Affine,
    pub(crate) relation: Comparison,
    pub(crate) right: Affine,
    pub(crate) modulus: Option<Modulus>,
}

/// A number, or an axis that stands for its size.
#[derive(Clone, Debug)]
pub(crate) enum Modulus {
    Number(Integer),
    Axis(Ident),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
}
