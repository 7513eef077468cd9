//! What the screens look like, at four sizes.

use std::time::Duration;

use crossterm::event::KeyCode;

use super::fixture::{Stage, Story, broken, dangerous, ended, plan, running};
use super::update::Message;
use crate::run::fact::Fact;
use crate::run::{Question, Verdict};

const SIZES: [(u16, u16); 4] = [(80, 24), (60, 16), (40, 10), (120, 40)];

/// One snapshot of a screen at every size.
fn at_every_size(name: &str, make: impl Fn(u16, u16) -> Stage) {
    for (width, height) in SIZES {
        let stage = make(width, height);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}_{width}x{height}"), stage.shown());
        });
    }
}

#[test]
fn home() {
    at_every_size("home", Stage::home);
}

#[test]
fn home_before_anything_is_gathered() {
    let stage = Stage::new(0, 80, 24);
    assert!(stage.shown().contains("looking …"), "{}", stage.shown());
}

#[test]
fn a_dump() {
    at_every_size("dump", |width, height| {
        let mut stage = Stage::home(width, height);
        stage.key(KeyCode::Down);
        stage.key(KeyCode::Enter);
        stage
    });
}

fn form(width: u16, height: u16) -> Stage {
    let mut stage = Stage::home(width, height);
    let mut plan = plan();
    plan.values.remove("database");
    plan.values.remove("staging");
    stage.send(Message::Planned(Ok(Box::new(plan))));
    stage
}

#[test]
fn the_start_form() {
    at_every_size("start", form);
}

#[test]
fn the_start_form_with_errors() {
    at_every_size("start_errors", |width, height| {
        let mut stage = form(width, height);
        stage.ctrl('y');
        stage
    });
}

#[test]
fn a_step_that_can_start() {
    at_every_size("question_ready", |width, height| {
        let mut story = Story::new(true, false);
        story.until_restore().begin(190, "restore").ask(195, "restore", Question::Ready);
        story.screen(221, width, height)
    });
}

#[test]
fn a_manual_step() {
    at_every_size("question_manual", |width, height| {
        let mut story = Story::new(false, true);
        let fields = toml::from_str::<toml::Table>(
            "f = [{ name = 'commander', label = 'Incident commander' }, { name = 'severity', label = 'Severity', choices = ['major', 'minor'] }]",
        );
        let fields = fields.unwrap()["f"].clone().try_into().unwrap();
        let checklist =
            vec!["Say in #incident that a restore begins".into(), "Take the deploy lock".into(), "Name an incident commander".into()];
        story.begin(0, "announce").ask(1, "announce", Question::Manual { checklist, fields });
        let mut stage = story.screen(12, width, height);
        for code in [KeyCode::Enter, KeyCode::Enter, KeyCode::Enter, KeyCode::Enter] {
            stage.key(code);
        }
        stage.type_text("Grace");
        stage
    });
}

#[test]
fn a_step_that_holds_already() {
    at_every_size("question_already_true", |width, height| {
        let mut story = Story::new(true, false);
        story.prove(0, "announce", 120).begin(120, "maintenance.on");
        story.tell(
            121,
            Fact::Checked {
                step: "maintenance.on".into(),
                check: "www answers 503 with the maintenance page".into(),
                held: true,
                seen: "503, Sorry, we are fixing it".into(),
                before: true,
            },
        );
        story.ask(121, "maintenance.on", Question::AlreadyTrue);
        story.screen(130, width, height)
    });
}

#[test]
fn a_dangerous_step() {
    at_every_size("question_danger", |width, height| dangerous().screen(1320, width, height));
}

#[test]
fn a_dangerous_step_while_its_name_is_typed() {
    at_every_size("question_danger_typing", |width, height| {
        let mut stage = dangerous().screen(1320, width, height);
        stage.key(KeyCode::Enter);
        stage.type_text("orde");
        stage
    });
}

#[test]
fn a_failed_step() {
    at_every_size("question_failed", |width, height| broken().screen(520, width, height));
}

#[test]
fn a_step_nobody_knows_about() {
    at_every_size("question_unknown", |width, height| {
        let mut story = running();
        story.readings.clear();
        story.tell(900, Fact::Resumed { by: "ada@bastion".into(), tool: "lifeboat 0.1.0".into() });
        story.ask(901, "restore", Question::Unknown { repeatable: false, undo: true });
        story.screen(910, width, height)
    });
}

#[test]
fn a_step_being_done() {
    at_every_size("running", |width, height| running().screen(294, width, height));
}

#[test]
fn the_log_below_a_step_being_done() {
    at_every_size("running_log", |width, height| {
        let mut stage = running().screen(294, width, height);
        stage.key(KeyCode::Char('l'));
        stage
    });
}

#[test]
fn another_step_is_looked_at() {
    at_every_size("looking", |width, height| {
        let mut stage = dangerous().screen(1320, width, height);
        for _ in 0..3 {
            stage.key(KeyCode::Char('k'));
        }
        stage
    });
}

#[test]
fn a_reason_is_asked_for() {
    at_every_size("reason", |width, height| {
        let mut stage = broken().screen(520, width, height);
        stage.key(KeyCode::Char('o'));
        stage.type_text("checked by hand with the DBA");
        stage
    });
}

#[test]
fn leaving_a_live_run() {
    at_every_size("leave", |width, height| {
        let mut stage = running().screen(294, width, height);
        stage.key(KeyCode::Char('q'));
        stage
    });
}

#[test]
fn the_end() {
    at_every_size("end_proven", |width, height| ended(Verdict::Proven).screen(1500, width, height));
    at_every_size("end_unproven", |width, height| ended(Verdict::Unproven).screen(1500, width, height));
    at_every_size("end_aborted", |width, height| ended(Verdict::Aborted).screen(1500, width, height));
}

#[test]
fn help() {
    at_every_size("help", |width, height| {
        let mut stage = broken().screen(520, width, height);
        stage.key(KeyCode::Char('?'));
        stage
    });
}

#[test]
fn palette() {
    at_every_size("palette", |width, height| {
        let mut stage = broken().screen(520, width, height);
        stage.key(KeyCode::Char(':'));
        stage.type_text("st");
        stage
    });
}

#[test]
fn paper() {
    at_every_size("paper", |width, height| {
        let mut stage = dangerous().screen(1320, width, height);
        stage.key(KeyCode::Char('p'));
        stage
    });
}

#[test]
fn a_terminal_too_small_to_draw_says_so_and_its_keys_are_dead() {
    // Trap 46.
    let mut stage = dangerous().screen(1320, 39, 10);
    assert_eq!(stage.shown().lines().next(), Some("39×10 is too small; keys sleep until 4…"));
    stage.key(KeyCode::Enter);
    stage.type_text("orders");
    assert_eq!(stage.ctrl('y'), []);
    // Grown again, the question must be seen again before it can be answered.
    stage.send(Message::Drawn);
    stage.send(Message::Resize(ratatui::layout::Size { width: 80, height: 24 }));
    stage.send(Message::Drawn);
    stage.pass(Duration::from_millis(100));
    stage.key(KeyCode::Enter);
    assert!(!stage.model.is_typing());
}

#[test]
fn the_environment_stands_in_words_at_every_size() {
    for (width, height) in SIZES {
        let shown = dangerous().screen(1320, width, height).shown();
        assert!(shown.lines().next().is_some_and(|line| line.contains("PRODUCTION") && line.contains("shop-prod")), "{shown}");
        let shown = Stage::home(width, height).shown();
        assert!(shown.lines().next().is_some_and(|line| line.contains("PRODUCTION") && line.contains("shop-prod")), "{shown}");
    }
}

#[test]
fn nothing_a_stranger_wrote_reaches_the_terminal_as_control() {
    let mut stage = running().screen(294, 80, 24);
    stage.key(KeyCode::Char('l'));
    let shown = stage.shown();
    assert!(shown.contains("COPY 812004[2J"), "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

#[test]
fn a_terminal_without_utf8_shows_ascii_only() {
    for make in [|| running().screen(294, 80, 24), || Stage::home(80, 24), || ended(Verdict::Unproven).screen(1500, 80, 24)] {
        let mut stage = make();
        stage.model.plain = true;
        assert!(stage.shown().is_ascii(), "{}", stage.shown());
    }
}
