//! Emacs's syntax of regular expressions, read into the tree of `regex-syntax`.
//!
//! Invariant: what Emacs accepts is read as Emacs reads it or refused, never read otherwise;
//! `tests/golden/regexp.tsv` holds its answers. Greed is dropped, since nobody asks how long a match
//! is. Groups are kept on a stack of our own, so no expression can exhaust the program's.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};

use super::{
    Case, RegexpError,
    RegexpErrorKind::{
        self as Kind, BackReference, BeyondAscii, Category, ClassName, Point, PrematureEnd,
        RepeatedAssertion, SyntaxClass, TooDeep, TrailingBackslash, UnmatchedBrace,
        UnmatchedBracket, UnmatchedClose, UnmatchedOpen,
    },
    syntax,
};

/// How deep groups and repetitions may lie within one another: what follows the tree is recursive.
const DEPTH_MAX: usize = 200;

/// Emacs's own limit of a count.
const COUNT_MAX: u32 = 65_535;

/// Reads `pattern`.
pub(super) fn parse(pattern: &str, case: Case) -> Result<Hir, RegexpError> {
    let mut parser = Parser { pattern, at: 0, case, groups: vec![Group::default()] };
    parser.run()
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    case: Case,
    /// The groups around the present place; the first is the expression itself.
    groups: Vec<Group>,
}

/// A group that is being read.
#[derive(Default)]
struct Group {
    /// Where it began.
    at: usize,
    /// The alternatives before the present one.
    alternatives: Vec<Hir>,
    /// The present one, piece by piece.
    pieces: Vec<Piece>,
    /// The deepest of what it holds.
    depth: usize,
}

/// Something that stands by itself in an alternative.
struct Piece {
    hir: Hir,
    /// How many repetitions and groups lie within one another in it.
    depth: usize,
    repeatable: Repeatable,
    /// Whether the last thing of it is `*`, `+` or `?`: then a further `?` only takes the greed out.
    is_signed: bool,
}

/// What a `*` behind a piece means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeatable {
    Yes,
    /// A plain character, as behind `^`.
    Literally,
    /// Emacs's answers differ from one assertion to the next.
    No,
}

impl Piece {
    const fn new(hir: Hir) -> Self {
        Self::with(hir, Repeatable::Yes)
    }

    fn look(look: Look, repeatable: Repeatable) -> Self {
        Self::with(Hir::look(look), repeatable)
    }

    const fn with(hir: Hir, repeatable: Repeatable) -> Self {
        Self { hir, depth: 0, repeatable, is_signed: false }
    }
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<Hir, RegexpError> {
        while let Some(next) = self.next() {
            let piece = match next {
                '\\' => self.escape()?,
                '[' => Some(self.set()?),
                '.' => Some(Piece::new(class(&[(b'\n', b'\n')], true))),
                '^' if self.begins() => Some(Piece::look(Look::StartLF, Repeatable::Literally)),
                '$' if self.ends() => Some(Piece::look(Look::EndLF, Repeatable::No)),
                '*' => self.repeat(next, 0, None)?,
                '+' => self.repeat(next, 1, None)?,
                '?' => self.repeat(next, 0, Some(1))?,
                _ => Some(self.literal(next)),
            };
            self.group().pieces.extend(piece);
        }
        let whole = self.groups.pop().expect("the expression itself is a group");
        if !self.groups.is_empty() {
            return Err(error(whole.at, UnmatchedOpen));
        }
        Ok(whole.finish().hir)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn take(&mut self, expected: &str) -> bool {
        let taken = self.rest().starts_with(expected);
        self.at += if taken { expected.len() } else { 0 };
        taken
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the expression itself is a group")
    }

    /// Whether nothing of the present alternative was read.
    fn begins(&mut self) -> bool {
        self.group().pieces.is_empty()
    }

    /// Whether nothing follows in the present alternative.
    fn ends(&self) -> bool {
        let rest = self.rest();
        rest.is_empty() || rest.starts_with("\\)") || rest.starts_with("\\|")
    }

    fn literal(&self, character: char) -> Piece {
        let byte = u8::try_from(character).ok().filter(u8::is_ascii_alphabetic);
        if let Some(byte) = byte
            && self.case == Case::Folded
        {
            let [upper, lower] = [byte.to_ascii_uppercase(), byte.to_ascii_lowercase()];
            return Piece::new(class(&[(upper, upper), (lower, lower)], false));
        }
        Piece::new(Hir::literal(character.to_string().into_bytes()))
    }

    /// What follows a backslash; `None` when it is no piece but structure.
    fn escape(&mut self) -> Result<Option<Piece>, RegexpError> {
        use Repeatable::{Literally, No};
        let at = self.at - 1;
        let next = self.next().ok_or_else(|| error(at, TrailingBackslash))?;
        Ok(Some(match next {
            '(' => return self.open(at).map(|()| None),
            ')' => return self.close(at).map(|()| None),
            '|' => {
                let group = self.group();
                group.end_alternative();
                return Ok(None);
            }
            '{' => return self.counted(at),
            '`' => Piece::look(Look::Start, Literally),
            '\'' => Piece::look(Look::End, No),
            'b' => Piece::look(Look::WordAscii, No),
            'B' => Piece::look(Look::WordAsciiNegate, No),
            '<' => Piece::look(Look::WordStartAscii, No),
            '>' => Piece::look(Look::WordEndAscii, No),
            '_' => match self.next().ok_or_else(|| error(at, PrematureEnd))? {
                '<' => Piece::look(Look::WordStartHalfAscii, No),
                '>' => Piece::look(Look::WordEndHalfAscii, No),
                _ => return Err(error(at, Kind::Group)),
            },
            'w' | 'W' => {
                Piece::new(self.by_syntax('w', next == 'W').ok_or_else(|| error(at, SyntaxClass))?)
            }
            's' | 'S' => {
                let letter = self.next().ok_or_else(|| error(at, PrematureEnd))?;
                Piece::new(
                    self.by_syntax(letter, next == 'S').ok_or_else(|| error(at, SyntaxClass))?,
                )
            }
            'c' | 'C' if self.rest().is_empty() => return Err(error(at, PrematureEnd)),
            'c' | 'C' => return Err(error(at, Category)),
            '=' => return Err(error(at, Point)),
            '1'..='9' => return Err(error(at, BackReference)),
            other => self.literal(other),
        }))
    }

    fn by_syntax(&self, letter: char, is_negated: bool) -> Option<Hir> {
        syntax::class_of(letter).map(|ranges| class(ranges, is_negated))
    }

    fn open(&mut self, at: usize) -> Result<(), RegexpError> {
        if self.take("?") {
            let number = self.rest().bytes().take_while(u8::is_ascii_digit).count();
            let is_numbered = !matches!(self.rest().as_bytes().first(), Some(b'0'));
            self.at += number;
            if !(is_numbered && self.take(":")) {
                return Err(match self.rest() {
                    "" if number == 0 => error(at, UnmatchedOpen),
                    "" if is_numbered => error(at, PrematureEnd),
                    _ => error(at, Kind::Group),
                });
            }
        }
        if self.groups.len() > DEPTH_MAX {
            return Err(error(at, TooDeep));
        }
        self.groups.push(Group { at, ..Group::default() });
        Ok(())
    }

    fn close(&mut self, at: usize) -> Result<(), RegexpError> {
        if self.groups.len() == 1 {
            return Err(error(at, UnmatchedClose));
        }
        let group = self.groups.pop().expect("there are at least two");
        let piece = group.finish();
        if piece.depth > DEPTH_MAX {
            return Err(error(at, TooDeep));
        }
        self.group().pieces.push(piece);
        Ok(())
    }

    /// A repetition of the last piece, or `sign` itself where there is none.
    fn repeat(
        &mut self,
        sign: char,
        min: u32,
        max: Option<u32>,
    ) -> Result<Option<Piece>, RegexpError> {
        let at = self.at;
        let group = self.group();
        let repeatable = group.pieces.last().map_or(Repeatable::Literally, |last| last.repeatable);
        match repeatable {
            Repeatable::Literally => return Ok(Some(self.literal(sign))),
            Repeatable::No => return Err(error(at - 1, RepeatedAssertion)),
            Repeatable::Yes => {}
        }
        let last = group.pieces.pop().expect("something repeatable was there");
        if sign == '?' && last.is_signed {
            return Ok(Some(last));
        }
        let depth = last.depth + 1;
        if depth > DEPTH_MAX {
            return Err(error(at - 1, TooDeep));
        }
        let repetition = Repetition { min, max, greedy: true, sub: Box::new(last.hir) };
        let hir = Hir::repetition(repetition);
        Ok(Some(Piece { hir, depth, repeatable: Repeatable::Yes, is_signed: sign != '{' }))
    }

    /// What follows `\{`.
    fn counted(&mut self, at: usize) -> Result<Option<Piece>, RegexpError> {
        let last = self.group().pieces.last();
        if last.is_none_or(|last| last.repeatable == Repeatable::Literally) {
            return Ok(Some(self.literal('{')));
        }
        let first = self.count(at)?;
        let (min, max) = if self.take(",") {
            (first.unwrap_or(0), self.count(at)?)
        } else {
            (first.unwrap_or(0), first.or(Some(0)))
        };
        match self.rest() {
            "" => return Err(error(at, UnmatchedBrace)),
            "\\" => return Err(error(self.at, TrailingBackslash)),
            _ => {}
        }
        let is_ordered = max.is_none_or(|max| min <= max);
        if !is_ordered || !self.take("\\}") {
            return Err(error(at, Kind::Repetition));
        }
        self.repeat('{', min, max)
    }

    /// A number, if there is one.
    fn count(&mut self, at: usize) -> Result<Option<u32>, RegexpError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = &self.pattern[self.at..self.at + digits];
        self.at += digits;
        if number.is_empty() {
            return Ok(None);
        }
        let number = number.parse().ok().filter(|&number| number <= COUNT_MAX);
        number.map(Some).ok_or_else(|| error(at, Kind::Repetition))
    }

    /// What follows `[`.
    fn set(&mut self) -> Result<Piece, RegexpError> {
        let at = self.at - 1;
        let is_negated = self.take("^");
        let mut bytes = Vec::new();
        let mut beyond = Vec::new();
        let mut is_first = true;
        loop {
            if let Some(name) = self.class_name() {
                let ranges = syntax::named(name).ok_or_else(|| error(self.at, ClassName))?;
                self.at += name.len() + 4;
                bytes.extend_from_slice(ranges);
                is_first = false;
                continue;
            }
            let start = self.next().ok_or_else(|| error(at, UnmatchedBracket))?;
            if start == ']' && !is_first {
                break;
            }
            is_first = false;
            let rest = self.rest();
            let end = if rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                self.next().ok_or_else(|| error(at, PrematureEnd))?
            } else {
                start
            };
            match (u8::try_from(start), u8::try_from(end)) {
                (Ok(start @ ..0x80), Ok(end @ ..0x80)) => bytes.push((start, end)),
                _ if start == end && !is_negated => beyond.push(start),
                _ => return Err(error(at, BeyondAscii)),
            }
        }
        // A range that runs backwards holds nothing.
        bytes.retain(|(start, end)| start <= end);
        let set = self.folded(&bytes, is_negated);
        let beyond = beyond.into_iter().map(|character| self.literal(character).hir);
        Ok(Piece::new(Hir::alternation(std::iter::once(set).chain(beyond).collect())))
    }

    /// The name in `[:name:]`, if that is what follows.
    fn class_name(&self) -> Option<&'a str> {
        self.rest().strip_prefix("[:")?.split_once(":]").map(|(name, _)| name)
    }

    fn folded(&self, ranges: &[(u8, u8)], is_negated: bool) -> Hir {
        let mut set = bytes(ranges);
        if self.case == Case::Folded {
            set.case_fold_simple();
        }
        if is_negated {
            set.negate();
        }
        Hir::class(Class::Bytes(set))
    }
}

impl Group {
    fn end_alternative(&mut self) {
        let deepest = self.pieces.iter().map(|piece| piece.depth).max();
        self.depth = self.depth.max(deepest.unwrap_or(0));
        let pieces = self.pieces.drain(..).map(|piece| piece.hir).collect();
        self.alternatives.push(Hir::concat(pieces));
    }

    fn finish(mut self) -> Piece {
        self.end_alternative();
        let hir = Hir::alternation(self.alternatives);
        Piece { depth: self.depth + 1, ..Piece::new(hir) }
    }
}

const fn error(position: usize, kind: Kind) -> RegexpError {
    RegexpError { position, kind }
}

fn bytes(ranges: &[(u8, u8)]) -> ClassBytes {
    ClassBytes::new(ranges.iter().map(|&(start, end)| ClassBytesRange::new(start, end)))
}

fn class(ranges: &[(u8, u8)], is_negated: bool) -> Hir {
    let mut set = bytes(ranges);
    if is_negated {
        set.negate();
    }
    Hir::class(Class::Bytes(set))
}
