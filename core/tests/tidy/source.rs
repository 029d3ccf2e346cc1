//! Rust text, read well enough to judge it: comments and in-file tests taken out, literals set apart.

use std::collections::BTreeSet;

/// One source file.
pub(crate) struct Source {
    /// The path below `core/src`.
    pub(crate) name: String,
    /// The code without comments, without in-file test modules, and with empty literals. Lines are kept,
    /// but for those of the test modules.
    pub(crate) code: String,
    /// What the string literals say.
    pub(crate) literals: Vec<String>,
    /// The modules that are declared as tests and live in files of their own.
    pub(crate) test_modules: Vec<String>,
}

pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let (code, _) = split_literals(text);
        let mut kept = Vec::new();
        let mut test_modules = Vec::new();
        let mut at = 0;
        while let Some(found) = code[at..].find("#[cfg(test)]") {
            let start = at + found;
            let end = item_end(&code, start);
            let item: Vec<&str> = words(&code[start..end]).collect();
            if let Some(module) = item.iter().position(|word| *word == "mod")
                && code[start..end].trim_end().ends_with(';')
            {
                test_modules.push(item[module + 1].to_owned());
            }
            kept.push(at..start);
            at = end;
        }
        kept.push(at..code.len());
        // Blanking keeps every byte where it was, so the same ranges hold in the text.
        let text: String = kept.iter().map(|range| &text[range.clone()]).collect();
        let (code, literals) = split_literals(&text);
        Source { name: name.to_owned(), code, literals, test_modules }
    }

    /// The folder below `core/src`, or the file itself at its top.
    pub(crate) fn floor(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The paths (without `.rs`) of the modules that are declared as tests.
    pub(crate) fn test_paths(&self) -> Vec<String> {
        let stem = self.name.trim_end_matches(".rs");
        let folder = match stem.strip_suffix("mod").or(stem.strip_suffix("lib")) {
            Some(folder) if folder.is_empty() || folder.ends_with('/') => folder.to_owned(),
            Some(_) | None => format!("{stem}/"),
        };
        self.test_modules.iter().map(|module| format!("{folder}{module}")).collect()
    }

    /// The first names of all paths that begin with `crate::`.
    pub(crate) fn crate_imports(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (at, path) in self.code.match_indices("crate::") {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = self.code[at + path.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => names.extend(heads_of_group(group)),
                None => names.extend(words(rest).next().map(str::to_owned)),
            }
        }
        names
    }

    /// Whether the path or word is in the code, not as a part of a longer word.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.code.match_indices(name).any(|(at, _)| {
            !is_word(self.code[..at].chars().next_back())
                && !is_word(self.code[at + name.len()..].chars().next())
        })
    }

    /// The functions that have a body, with their lines from `fn` to the closing brace.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            if self.code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let end = item_end(&self.code, at);
            let Some(name) = words(&self.code[at + 3..end]).next() else { continue };
            if self.code[..end].ends_with('}') {
                let lines = self.code[at..end].lines().count();
                functions.push(Function { name: name.to_owned(), lines });
            }
        }
        functions
    }
}

/// The identifiers and numbers of a text.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The first names of the paths in `a::b, c::{d, e}, f}...`.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut path) = (0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(words(&std::mem::take(&mut path)).next().map(str::to_owned)),
            c if depth == 0 => path.push(c),
            _ => {}
        }
    }
    heads.extend(words(&path).next().map(str::to_owned));
    heads
}

/// Where the item that begins at `start` ends: after its body, or after its semicolon.
fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return start + at + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The text with comments and the insides of literals blanked, byte for byte, and the string literals.
fn split_literals(text: &str) -> (String, Vec<String>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (inside, next) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => {
                let end = find(bytes, at, b"\n");
                (at..end, end)
            }
            b'/' if bytes[at..].starts_with(b"/*") => {
                let end = comment_end(bytes, at);
                (at..end, end)
            }
            b'r' if raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap_or_default();
                let start = at + hashes + 2;
                let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                let end = find(bytes, start, &close);
                literals.push(text[start..end].to_owned());
                (start..end, end + close.len())
            }
            b'"' => {
                let end = quoted_end(bytes, at + 1, b'"');
                literals.push(text[at + 1..end].to_owned());
                (at + 1..end, end + 1)
            }
            b'\'' if is_character(bytes, at) => {
                let end = quoted_end(bytes, at + 1, b'\'');
                (at + 1..end, end + 1)
            }
            _ => (at..at, at + 1),
        };
        code[inside].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = next;
    }
    (String::from_utf8(code).expect("only whole literals and comments are blanked"), literals)
}

/// A character literal, not a lifetime: closed after one character, or escaped.
fn is_character(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at + 1..];
    let width = rest.iter().skip(1).take_while(|byte| **byte & 0xc0 == 0x80).count() + 1;
    rest.first() == Some(&b'\\') || rest.get(width) == Some(&b'\'')
}

/// How many `#` a raw string literal at `at` has; `None` if there is none.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if before.is_some_and(|byte| (byte.is_ascii_alphanumeric() && byte != b'b') || byte == b'_') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn find(bytes: &[u8], start: usize, what: &[u8]) -> usize {
    let hit = bytes[start..].windows(what.len()).position(|window| window == what);
    hit.map_or(bytes.len(), |offset| start + offset)
}
