//! Text to tokens.

use logos::Logos;

use crate::diagnostic::Diagnostic;
use crate::syntax::ast::Span;

/// One token; its text is the slice of the source at its span.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\f]+")]
pub(crate) enum Token {
    #[token("\n")]
    Newline,
    #[regex(r"#[^\n]*", allow_greedy = true)]
    Comment,
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Ident,
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")]
    Number,
    #[token("'")]
    Prime,
    #[token("@")]
    At,
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("~")]
    Tilde,
    #[token("=")]
    Equal,
    #[token("<=")]
    LessEqual,
    #[token("<")]
    Less,
    #[token(">=")]
    GreaterEqual,
    #[token(">")]
    Greater,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("^")]
    Caret,
    #[token("..=")]
    RangeInclusive,
    #[token("..")]
    Range,
    /// After the last token.
    End,
}

impl Token {
    /// How the token is called in a message.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Token::Newline => "the end of the line",
            Token::Comment => "a comment",
            Token::Ident => "a name",
            Token::Number => "a number",
            Token::Prime => "`'`",
            Token::At => "`@`",
            Token::OpenParen => "`(`",
            Token::CloseParen => "`)`",
            Token::OpenBracket => "`[`",
            Token::CloseBracket => "`]`",
            Token::OpenBrace => "`{`",
            Token::CloseBrace => "`}`",
            Token::Comma => "`,`",
            Token::Colon => "`:`",
            Token::Tilde => "`~`",
            Token::Equal => "`=`",
            Token::LessEqual => "`<=`",
            Token::Less => "`<`",
            Token::GreaterEqual => "`>=`",
            Token::Greater => "`>`",
            Token::Plus => "`+`",
            Token::Minus => "`-`",
            Token::Star => "`*`",
            Token::Slash => "`/`",
            Token::Caret => "`^`",
            Token::RangeInclusive => "`..=`",
            Token::Range => "`..`",
            Token::End => "the end of the file",
        }
    }
}

/// The tokens of `source`, ending with [`Token::End`]; stretches that are no token become diagnostics.
pub(crate) fn tokens(source: &str) -> (Vec<(Token, Span)>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (token, range) in Token::lexer(source).spanned() {
        match token {
            Ok(token) => found.push((token, Span::from(range))),
            Err(()) => {
                if let Some(last) = problems.last_mut()
                    && last.span.end == range.start
                {
                    last.span.end = range.end;
                } else {
                    problems.push(Diagnostic::new("unknown-character", String::new(), range));
                }
            }
        }
    }
    for problem in &mut problems {
        let text = source.get(problem.span.clone()).unwrap_or_default();
        let shown: String = text.chars().take(12).flat_map(char::escape_debug).collect();
        problem.message = format!("unknown character `{shown}`");
        problem.label = "not part of the language".into();
        problem.help = text.chars().next().and_then(look_alike);
    }
    let end = source.len();
    found.push((Token::End, Span::from(end..end)));
    (found, problems)
}

/// What to type instead of a character that is often meant.
fn look_alike(c: char) -> Option<String> {
    let ascii = match c {
        '\u{2212}' | '\u{2013}' | '\u{2014}' => "-",
        '\u{00d7}' => "* (or `x` between dimensions)",
        '\u{00b7}' | '\u{2217}' | '\u{22c5}' => "*",
        '\u{2032}' | '\u{2019}' | '\u{22a4}' => "'",
        '\u{2264}' => "<=",
        '\u{2265}' => ">=",
        '\u{223c}' => "~",
        '\u{03c0}' => "pi",
        '\u{2211}' => "sum",
        ';' => return Some("a statement ends at the end of its line".into()),
        '!' | '&' | '|' => return Some("write several conditions as several guards: `[p <= q] [q <= 3]`".into()),
        c if c.is_alphabetic() => return Some("names are made of the letters a-z, A-Z, digits and `_`".into()),
        _ => return None,
    };
    Some(format!("write `{ascii}`").replace(") `", ")"))
}
