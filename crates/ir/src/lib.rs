//! The language of Netsor: typed tensor programs and networks.

pub mod abc;
pub mod algebra;
pub mod build;
pub mod calculus;
mod compose;
pub mod diagnostic;
pub mod draw;
pub mod exponents;
pub mod expr;
pub mod func;
pub mod id;
pub mod index;
mod jumps;
pub mod network;
pub mod number;
pub mod paths;
pub mod program;
pub mod syntax;
pub mod tape;
pub mod theorem;
pub mod transform;
pub mod verify;

pub use expr::{Expr, ExprId, Exprs, Symbol};
pub use func::Func;
pub use id::Id;
pub use index::{Guard, Index, Indices, Relation};
pub use network::{Network, Parameter, Role};
pub use number::{Number, Power};
pub use program::{Axis, Dim, Instr, Kind, Operand, Program, Scale, Table, Type, Value, ValueId, WidthClass};
