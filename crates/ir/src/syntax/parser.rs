//! Tokens to syntax tree: recursive descent that goes on after an error.
//!
//! A statement ends at the end of its line, except inside brackets and after an operator or a comma. An error skips to
//! the next line that looks like a statement, so that one pass finds the syntax errors of all statements. Depth is
//! limited to [`MAX_DEPTH`], so that no input can overflow the stack.

mod expr;
mod statement;

pub(crate) use expr::{MAX_COEFFICIENT, MAX_INDEX_LITERAL, MAX_POWER};

use crate::diagnostic::Diagnostic;
use crate::syntax::ast::{Block, File, Ident, Integer, Item, Span, Trivia};
use crate::syntax::lexer::{Token, tokens};
use crate::syntax::names::{KEYWORDS, closest};

/// How deep brackets, loops, signs and sums may be nested, together.
pub(crate) const MAX_DEPTH: usize = 200;

/// A problem was reported, and the statement is given up.
pub(crate) struct Failed;

pub(crate) type Parse<T> = Result<T, Failed>;

/// Parses a source; the tree holds what could be understood.
pub(crate) fn parse_file(source: &str) -> (File, Vec<Diagnostic>) {
    if u32::try_from(source.len()).is_err() {
        let problem = Diagnostic::new("too-large", "the source is larger than 4 GiB", 0..0);
        return (File::default(), vec![problem]);
    }
    let (all, problems) = tokens(source);
    let mut parser = Parser {
        source,
        tokens: Vec::with_capacity(all.len()),
        comments: Vec::new(),
        next_comment: 0,
        position: 0,
        brackets: 0,
        depth: 0,
        problems,
    };
    for (token, span) in all {
        if token == Token::Comment {
            let own_line = parser.tokens.last().is_none_or(|&(t, _)| t == Token::Newline);
            parser.comments.push(Comment { before: parser.tokens.len(), own_line, span });
        } else {
            parser.tokens.push((token, span));
        }
    }
    let file = parser.file();
    (file, parser.problems)
}

/// A comment and the token that follows it.
struct Comment {
    before: usize,
    own_line: bool,
    span: Span,
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<(Token, Span)>,
    comments: Vec<Comment>,
    next_comment: usize,
    position: usize,
    /// Number of open brackets around the position; line ends inside them mean nothing.
    brackets: usize,
    depth: usize,
    problems: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn file(&mut self) -> File {
        let mut file = File::default();
        let mut at_line_start = true;
        loop {
            let before = self.trivia(at_line_start);
            at_line_start = false;
            match self.token() {
                Token::End => {
                    file.rest = before;
                    return file;
                }
                Token::Ident if matches!(self.text(), "program" | "network") => {
                    if let Ok(item) = self.item(before) {
                        file.items.push(item);
                    }
                }
                _ => {
                    self.outside_item();
                }
            }
        }
    }

    fn outside_item(&mut self) {
        let span = self.span();
        let found = self.describe_here();
        let mut problem =
            Diagnostic::new("syntax", format!("expected `program` or `network`, found {found}"), span.into())
                .label("not inside an item");
        problem.help = match closest(self.text(), ["program", "network"]) {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None => Some("a source is a list of items: `program name { ... }` or `network name { ... }`".into()),
        };
        self.problems.push(problem);
        // One report for everything up to the next item.
        while self.token() != Token::End {
            if self.is_word("program") || self.is_word("network") {
                return;
            }
            self.position += 1;
        }
    }

    fn item(&mut self, before: Vec<Trivia>) -> Parse<Item> {
        let start = self.span();
        let network = self.text() == "network";
        self.position += 1;
        let header = self.identifier("a name for the item").and_then(|name| {
            self.skip_newlines();
            self.expect(Token::OpenBrace, "`{`").map(|brace| (name, brace))
        });
        let (name, brace) = match header {
            Ok(header) => header,
            Err(Failed) => {
                while !matches!(self.token(), Token::Newline | Token::OpenBrace | Token::End) {
                    self.position += 1;
                }
                if self.token() != Token::OpenBrace {
                    return Err(Failed);
                }
                let brace = self.span();
                self.position += 1;
                (Ident::default(), brace)
            }
        };
        let body = self.block(brace);
        let span = start.to(self.last_span());
        let after = self.comment_after();
        Ok(Item { before, network, name, body, span, after })
    }

    /// The statements after an opening brace, and the closing brace.
    fn block(&mut self, open: Span) -> Block {
        let mut block = Block::default();
        loop {
            let mut before = self.trivia(false);
            match self.token() {
                Token::CloseBrace => {
                    self.position += 1;
                    block.rest = before;
                    return block;
                }
                Token::End => {
                    let here = self.span();
                    self.problems.push(
                        Diagnostic::new("syntax", "this block is not closed", here.into())
                            .label("expected `}`")
                            .secondary(open.into(), "opened here"),
                    );
                    block.rest = before;
                    return block;
                }
                _ => {
                    let mut statement = self.statement();
                    let hoisted = self.comments_inside();
                    before.extend(hoisted);
                    statement.before = before;
                    statement.after = self.comment_after();
                    block.statements.push(statement);
                }
            }
        }
    }

    // Positions.

    /// The current token; line ends inside brackets are passed over.
    fn token(&mut self) -> Token {
        if 0 < self.brackets {
            self.skip_newlines();
        }
        self.raw(self.position).0
    }

    fn raw(&self, at: usize) -> (Token, Span) {
        self.tokens[at.min(self.tokens.len() - 1)]
    }

    /// The token after the current one.
    fn second(&mut self) -> Token {
        self.token();
        self.raw(self.position + 1).0
    }

    fn span(&mut self) -> Span {
        self.token();
        self.raw(self.position).1
    }

    fn text(&mut self) -> &str {
        let span = self.span();
        &self.source[std::ops::Range::from(span)]
    }

    fn last_span(&self) -> Span {
        self.raw(self.position.saturating_sub(1)).1
    }

    fn skip_newlines(&mut self) {
        while self.raw(self.position).0 == Token::Newline {
            self.position += 1;
        }
    }

    fn eat(&mut self, token: Token) -> bool {
        let found = self.token() == token;
        if found {
            self.position += 1;
        }
        found
    }

    fn is_word(&mut self, word: &str) -> bool {
        self.token() == Token::Ident && self.text() == word
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.position += 1;
        }
        found
    }

    // Expectations.

    fn describe_here(&mut self) -> String {
        match self.token() {
            Token::Ident | Token::Number => format!("`{}`", self.text()),
            token => token.describe().into(),
        }
    }

    fn unexpected(&mut self, expected: &str) -> Diagnostic {
        let found = self.describe_here();
        let span = self.span();
        Diagnostic::new("syntax", format!("expected {expected}, found {found}"), span.into())
            .label(format!("expected {expected}"))
    }

    fn fail<T>(&mut self, problem: Diagnostic) -> Parse<T> {
        self.problems.push(problem);
        Err(Failed)
    }

    fn expect(&mut self, token: Token, expected: &str) -> Parse<Span> {
        if self.token() == token {
            self.position += 1;
            return Ok(self.last_span());
        }
        let problem = self.unexpected(expected);
        self.fail(problem)
    }

    /// A closing bracket; says where it was opened if it is missing.
    fn close(&mut self, token: Token, open: Span) -> Parse<Span> {
        if self.token() == token {
            self.position += 1;
            self.brackets = self.brackets.saturating_sub(1);
            return Ok(self.last_span());
        }
        let problem = self.unexpected(token.describe()).secondary(open.into(), "opened here");
        self.fail(problem)
    }

    fn open(&mut self, token: Token) -> Parse<Span> {
        let span = self.expect(token, token.describe())?;
        self.brackets += 1;
        Ok(span)
    }

    /// An identifier that is no keyword.
    fn identifier(&mut self, expected: &str) -> Parse<Ident> {
        if self.token() != Token::Ident {
            let problem = self.unexpected(expected);
            return self.fail(problem);
        }
        let ident = Ident { text: self.text().to_owned(), span: self.span() };
        if KEYWORDS.contains(&ident.text.as_str()) {
            let problem = Diagnostic::new(
                "syntax",
                format!("expected {expected}, found the keyword `{}`", ident.text),
                ident.span.into(),
            )
            .label("a keyword cannot be a name");
            return self.fail(problem);
        }
        self.position += 1;
        Ok(ident)
    }

    /// A whole number below 2^32.
    fn integer(&mut self, expected: &str) -> Parse<Integer> {
        let span = self.span();
        if self.token() != Token::Number {
            let problem = self.unexpected(expected);
            return self.fail(problem);
        }
        match self.text().parse::<u32>() {
            Ok(value) => {
                self.position += 1;
                Ok(Integer { value, span })
            }
            Err(_) => {
                let problem =
                    self.unexpected(expected).help("this must be a whole number below 2^32, written in digits");
                self.fail(problem)
            }
        }
    }

    /// Runs `f` one level deeper.
    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if MAX_DEPTH <= self.depth {
            let span = self.span();
            let problem = Diagnostic::new("too-deep", format!("nested more than {MAX_DEPTH} deep"), span.into())
                .label("too deep from here")
                .help("give an inner part a name of its own");
            return self.fail(problem);
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    // Comments.

    /// Comments and blank lines before the next statement.
    fn trivia(&mut self, mut at_line_start: bool) -> Vec<Trivia> {
        let mut found = Vec::new();
        loop {
            if let Some(comment) = self.comments.get(self.next_comment)
                && comment.before <= self.position
            {
                found.push(Trivia::Comment(self.comment_text(comment.span)));
                self.next_comment += 1;
                at_line_start = false;
            } else if self.raw(self.position).0 == Token::Newline {
                if at_line_start && found.last() != Some(&Trivia::Blank) {
                    found.push(Trivia::Blank);
                }
                at_line_start = true;
                self.position += 1;
            } else {
                return found;
            }
        }
    }

    fn comment_text(&self, span: Span) -> String {
        let text = &self.source[std::ops::Range::from(span)];
        text.trim_end().to_owned()
    }

    /// Comments between the tokens of the statement that just ended.
    fn comments_inside(&mut self) -> Vec<Trivia> {
        let mut found = Vec::new();
        while let Some(comment) = self.comments.get(self.next_comment)
            && comment.before < self.position
        {
            found.push(Trivia::Comment(self.comment_text(comment.span)));
            self.next_comment += 1;
        }
        found
    }

    /// The comment on the line where a statement just ended.
    fn comment_after(&mut self) -> Option<String> {
        let comment = self.comments.get(self.next_comment)?;
        if comment.before != self.position || comment.own_line {
            return None;
        }
        self.next_comment += 1;
        Some(self.comment_text(comment.span))
    }
}
