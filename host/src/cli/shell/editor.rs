//! The prompt: editing, history, and completion of commands and of names at both ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Helper};

use super::names_here;
use super::orders::{self, Operands, operands};
use super::there::There;
use super::words::{Line, quoted};
use crate::state::State;

/// Lines that are remembered.
const HISTORY_MAX: usize = 1000;

/// A person's answer to a prompt.
pub(in crate::cli) enum Answer {
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

/// What a person is to type, which says what can be completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) enum Typed {
    /// A command with its operands, as the shell knows them.
    Command,
    /// A single name, which needs no quotes.
    Name(Operands),
    /// Something else.
    #[default]
    Words,
}

/// A person at a terminal.
pub(in crate::cli) struct Editor {
    editor: rustyline::Editor<Names, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// Remembers lines among what the machine remembers in `place`, if it remembers anything.
    pub(in crate::cli) fn new(there: Arc<There>, place: Option<&Path>) -> Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_MAX)
            .context("no history of that size")?
            .history_ignore_space(true)
            .build();
        let mut editor =
            rustyline::Editor::with_config(config).context("cannot use the terminal")?;
        editor.set_helper(Some(Names { there, typed: Typed::default() }));
        let history = State::open(place).ok().map(|state| state.file("history"));
        if let Some(history) = &history {
            // There is none the first time.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor, history })
    }

    /// Asks for a command, which is remembered.
    pub(super) fn line(&mut self, prompt: &str) -> Result<Answer> {
        let answer = self.ask(prompt, Typed::Command)?;
        if let Answer::Line(line) = &answer
            && !line.trim().is_empty()
        {
            let _ = self.editor.add_history_entry(line);
            if let Some(history) = &self.history {
                // A line that cannot be remembered is none that cannot be done.
                let _ = self.editor.save_history(history);
            }
        }
        Ok(answer)
    }

    /// Whether a person says yes; `default` where they say nothing.
    pub(in crate::cli) fn agrees(&mut self, question: &str, default: bool) -> Result<bool> {
        Ok(match self.ask(question, Typed::Words)? {
            Answer::Line(line) => match line.trim().to_lowercase().as_str() {
                "" => default,
                "y" | "yes" => true,
                _ => false,
            },
            Answer::Interrupted | Answer::End => false,
        })
    }

    /// Asks for something that is not remembered.
    pub(in crate::cli) fn ask(&mut self, prompt: &str, typed: Typed) -> Result<Answer> {
        if let Some(names) = self.editor.helper_mut() {
            names.typed = typed;
        }
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Answer::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Answer::Interrupted),
            Err(ReadlineError::Eof) => Ok(Answer::End),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }
}

/// Completes commands and names.
struct Names {
    there: Arc<There>,
    typed: Typed,
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        match self.typed {
            Typed::Command => {}
            Typed::Name(operands) => {
                return Ok((0, self.names_like(operands, typed, ToOwned::to_owned)));
            }
            Typed::Words => return Ok((pos, Vec::new())),
        }
        let Line { mut commands, ends_in_word, .. } = Line::new(typed);
        let mut words = match commands.pop() {
            Some(command) if ends_in_word || !typed.trim_end().ends_with([';', '&']) => {
                command.words
            }
            _ => Vec::new(),
        };
        let word = if ends_in_word { words.pop() } else { None };
        let (start, text) = word.map_or((pos, String::new()), |word| (word.start, word.text));
        let candidates = match words.first() {
            None => commands_like(&text),
            Some(first) if first.text.eq_ignore_ascii_case("help") => commands_like(&text),
            Some(first) => self.names_like(operands(&first.text), &text, quoted),
        };
        Ok((start, candidates))
    }
}

fn commands_like(text: &str) -> Vec<Pair> {
    let text = text.to_lowercase();
    let names = orders::names().into_iter().filter(|name| name.starts_with(&text));
    names.map(|name| Pair { replacement: format!("{name} "), display: name }).collect()
}

impl Names {
    /// Names that begin like `text`, typed as `quote` says.
    fn names_like(
        &self,
        operands: Operands,
        text: &str,
        quote: impl Fn(&str) -> String,
    ) -> Vec<Pair> {
        let (above, begun) = match text.rfind('/') {
            Some(at) => text.split_at(at + 1),
            None => ("", text),
        };
        let directory = if above.is_empty() { "." } else { above };
        let mut names = match operands {
            Operands::Here => names_here(directory).unwrap_or_default(),
            Operands::There => self.there.names_lately(directory),
        };
        names.sort();
        let fits = names.into_iter().filter(|(name, _)| {
            name.starts_with(begun)
                && (begun.starts_with('.') || !name.starts_with('.'))
                // Nobody could see what they are about to send.
                && !name.contains(char::is_control)
        });
        fits.map(|(name, is_directory)| {
            let slash = if is_directory { "/" } else { "" };
            // It is to be no option.
            let here = if above.is_empty() && name.starts_with('-') { "./" } else { "" };
            Pair {
                replacement: quote(&format!("{here}{above}{name}{slash}")),
                display: format!("{name}{slash}"),
            }
        })
        .collect()
    }
}

impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}
