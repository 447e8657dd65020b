//! What the keys of the dashboard mean.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The keys, as `?` tells them.
pub(super) const HELP: [(&str, &str); 9] = [
    ("q, Ctrl-C", "stop the run: what was sent is waited for; again to abort at once"),
    ("up, down", "select a stage; also k and j, Home and End"),
    ("Enter", "a row for each variant of the stage, or one for all"),
    ("f", "only what failed, or has rows that failed"),
    ("Tab", "another pane: details, limits, log; Shift-Tab goes back"),
    ("PgUp, PgDn", "scroll the pane"),
    ("Esc", "follow the run again"),
    ("?", "this help"),
    ("↑ ↓", "before a name: the selected stage reads it, or is read by it"),
];

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Stop,
    Up,
    Down,
    Home,
    End,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Next,
    Previous,
    Letter(char),
}

/// What the user wants that the dashboard cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Stop the run.
    Stop,
    /// Answer the question that stands on the dashboard.
    Answer(Reply),
}

/// What may be answered to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Yes,
    No,
    /// Of a budget: without a ceiling in this run.
    Raise,
}

/// What is shown beside the stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Details,
    Limits,
    Log,
}

impl Pane {
    /// Its title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Limits => "limits",
            Self::Log => "log",
        }
    }

    /// The one after it.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Details => Self::Limits,
            Self::Limits => Self::Log,
            Self::Log => Self::Details,
        }
    }

    /// The one before it.
    pub(super) fn previous(self) -> Self {
        self.next().next()
    }
}

/// The key of a terminal's event, if it means something.
pub(super) fn of_event(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return None };
    if *kind == KeyEventKind::Release {
        return None;
    }
    if modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(code, KeyCode::Char('c' | 'C')).then_some(Key::Stop);
    }
    Some(match code {
        KeyCode::Char('q') => Key::Stop,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab => Key::Next,
        KeyCode::BackTab => Key::Previous,
        KeyCode::Char(letter) => Key::Letter(*letter),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        of_event(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn q_and_ctrl_c_stop_and_other_letters_are_letters() {
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Stop));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Stop));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Letter('c')));
        assert_eq!(key(KeyCode::Char('f'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::F(1), KeyModifiers::NONE), None);
        assert_eq!(of_event(&Event::FocusGained), None);
    }

    #[test]
    fn tab_goes_round_both_ways() {
        for pane in [Pane::Details, Pane::Limits, Pane::Log] {
            assert_eq!(pane.next().previous(), pane);
        }
    }
}
