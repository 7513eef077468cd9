//! Keys, and what they must never do.

use std::collections::BTreeMap;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Effect, Message};
use crate::report::Report;
use crate::run::fact::Fact;
use crate::run::{Answer, Question, Verdict};
use crate::runbook::Plan;
use crate::tui::fixture::{Stage, Story, broken, dangerous, ended, plan, running};
use crate::tui::keys::{self, Command};
use crate::tui::model::{Focus, Screen, Sheet};

fn answers(effects: &[Effect]) -> Vec<&Answer> {
    effects.iter().filter_map(|effect| if let Effect::Answer(answer) = effect { Some(answer) } else { None }).collect()
}

fn typed(text: &str) -> Effect {
    Effect::Answer(Answer::Typed { text: text.into() })
}

#[test]
fn typing_the_exact_name_and_ctrl_y_confirms_danger() {
    let mut stage = dangerous().screen(1320, 80, 24);
    assert_eq!(stage.key(KeyCode::Enter), []);
    assert_eq!(stage.model.focus(), Focus::Danger);
    assert_eq!(stage.type_text("orders"), []);
    assert_eq!(stage.ctrl('y'), [typed("orders")]);
    assert_eq!(stage.ctrl('y'), [], "and once only");
}

#[test]
fn enter_never_confirms_danger() {
    let mut stage = dangerous().screen(1320, 80, 24);
    for _ in 0..20 {
        assert_eq!(stage.key(KeyCode::Enter), []);
    }
    stage.type_text("orders");
    for _ in 0..20 {
        assert_eq!(stage.key(KeyCode::Enter), [], "not even with the right name");
    }
    assert!(stage.model.notice.as_ref().is_some_and(|(words, _)| words.contains("Ctrl-Y")));
}

#[test]
fn a_wrong_name_does_nothing() {
    for wrong in ["", "order", "orders ", "Orders", "orders_restored"] {
        let mut stage = dangerous().screen(1320, 80, 24);
        stage.key(KeyCode::Enter);
        stage.type_text(wrong);
        assert_eq!(stage.ctrl('y'), [], "{wrong:?}");
    }
}

#[test]
fn a_pasted_name_does_not_count_as_typed() {
    let mut stage = dangerous().screen(1320, 80, 24);
    stage.key(KeyCode::Enter);
    stage.send(Message::Paste("orders\n".into()));
    assert_eq!(stage.ctrl('y'), []);
}

#[test]
fn keys_are_dead_for_the_first_moment_of_a_danger_dialog() {
    let mut stage = Stage::new(1320, 80, 24);
    stage.send(Message::Began(Ok(dangerous().snapshot())));
    // Not drawn yet: dead, however long that takes.
    stage.pass(Duration::from_secs(5));
    stage.key(KeyCode::Enter);
    assert_eq!(stage.model.focus(), Focus::Run);
    stage.send(Message::Drawn);
    stage.pass(Duration::from_millis(299));
    for code in [KeyCode::Enter, KeyCode::Char('i'), KeyCode::Char('s'), KeyCode::Char('a'), KeyCode::Char('q')] {
        assert_eq!(stage.key(code), []);
        assert_eq!(stage.model.focus(), Focus::Run, "{code:?}");
    }
    stage.pass(Duration::from_millis(1));
    stage.key(KeyCode::Enter);
    assert_eq!(stage.model.focus(), Focus::Danger);
}

#[test]
fn half_a_name_is_forgotten_when_one_stops_typing() {
    let mut stage = dangerous().screen(1320, 80, 24);
    stage.key(KeyCode::Enter);
    stage.type_text("ord");
    stage.key(KeyCode::Esc);
    stage.key(KeyCode::Enter);
    stage.type_text("ers");
    assert_eq!(stage.ctrl('y'), []);
}

/// A small generator (xorshift) so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Every key there is in the table, and what else people hit.
fn keyboard() -> Vec<KeyEvent> {
    let none = KeyModifiers::NONE;
    let letters = ('a'..='z').chain("?:/0 1ABDGXY".chars()).map(|c| KeyEvent::new(KeyCode::Char(c), none));
    let controls = ('a'..='z').map(|c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
    let others = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
    ];
    letters.chain(controls).chain(others.map(|code| KeyEvent::new(code, none))).collect()
}

#[test]
fn no_keys_confirm_danger_without_the_name_among_them() {
    let keyboard = keyboard();
    let (mut begun, mut pages, mut sheets) = (0, 0, 0);
    for seed in 1..150_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut stage = dangerous().screen(1320, 80, 24);
        // Letters of the name as they were typed, whatever came between: without `orders` in them nothing may be confirmed.
        let mut letters = String::new();
        for _ in 0..300 {
            let mut event = keyboard[random.below(keyboard.len())];
            // Often the keys that matter most here.
            match random.below(8) {
                0 => event = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE),
                1 => event = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::CONTROL),
                _ => {}
            }
            if let KeyCode::Char(c) = event.code {
                letters.push(c);
            }
            let effects = stage.send(Message::Key(event));
            for answer in answers(&effects) {
                if let Answer::Typed { text } = answer {
                    assert_eq!(text, "orders", "seed {seed}");
                    assert!(is_inside("orders", &letters), "seed {seed}: {letters}");
                }
                assert!(
                    !matches!(answer, Answer::Go | Answer::Record | Answer::Retry | Answer::Override { .. }),
                    "seed {seed}: {answer:?}"
                );
            }
            begun += usize::from(stage.model.focus() == Focus::Danger);
            pages += usize::from(stage.model.page.is_some());
            sheets += usize::from(stage.model.sheet.is_some());
            if random.below(3) > 0 {
                stage.send(Message::Drawn);
                stage.pass(Duration::from_millis(400));
            }
        }
    }
    assert!(begun > 500 && pages > 500 && sheets > 500, "the keys went nowhere: {begun} {pages} {sheets}");
}

fn is_inside(word: &str, text: &str) -> bool {
    let mut rest = text.chars();
    word.chars().all(|wanted| rest.any(|c| c == wanted))
}

#[test]
fn no_two_commands_that_are_possible_together_share_a_key() {
    let mut seen = 0;
    for stage in everywhere() {
        let mut taken: BTreeMap<String, Command> = BTreeMap::new();
        for binding in keys::possible(&stage.model) {
            for key in binding.keys {
                seen += 1;
                if let Some(other) = taken.insert(key.to_string(), binding.command) {
                    assert_eq!(other, binding.command, "{key} in {:?}", stage.model.focus());
                }
            }
        }
    }
    assert!(seen > 300, "only {seen} keys seen");
}

#[test]
fn every_screen_can_be_left_and_has_hints() {
    for mut stage in everywhere() {
        let focus = stage.model.focus();
        assert!(keys::possible(&stage.model).any(|binding| binding.shown != keys::Shown::Never), "{focus:?} has no hint");
        // Ctrl-C, at most a handful of times, leads outside from anywhere.
        let left = (0..5).any(|_| stage.ctrl('c').contains(&Effect::Quit));
        assert!(left, "no way out of {focus:?}");
    }
}

/// A stage for every way the keys can lie.
fn everywhere() -> Vec<Stage> {
    let mut stages =
        vec![Stage::home(80, 24), dangerous().screen(1320, 80, 24), broken().screen(520, 80, 24), running().screen(300, 80, 24)];
    stages.push(ended(Verdict::Unproven).screen(1500, 80, 24));
    let question = |question| {
        let mut story = Story::new(true, false);
        story.begin(0, "restore").ask(1, "restore", question);
        story.screen(10, 80, 24)
    };
    stages.push(question(Question::Ready));
    stages.push(question(Question::AlreadyTrue));
    stages.push(question(Question::Unknown { repeatable: true, undo: true }));
    stages.push(manual());
    let after = |mut stage: Stage, keys: &[KeyCode]| {
        for code in keys {
            stage.key(*code);
        }
        stage
    };
    stages.push(after(Stage::home(80, 24), &[KeyCode::Char('j'), KeyCode::Enter]));
    stages.push(after(Stage::home(80, 24), &[KeyCode::Char('?')]));
    stages.push(after(Stage::home(80, 24), &[KeyCode::Char(':')]));
    stages.push(after(dangerous().screen(1320, 80, 24), &[KeyCode::Enter]));
    stages.push(after(dangerous().screen(1320, 80, 24), &[KeyCode::Char('a')]));
    stages.push(after(dangerous().screen(1320, 80, 24), &[KeyCode::Char('p')]));
    stages.push(after(dangerous().screen(1320, 80, 24), &[KeyCode::Char('k')]));
    stages.push(after(running().screen(300, 80, 24), &[KeyCode::Char('q')]));
    stages.push(after(running().screen(300, 80, 24), &[KeyCode::Char('x')]));
    stages.push(after(manual(), &[KeyCode::Enter, KeyCode::Enter, KeyCode::Enter]));
    let mut form = Stage::home(80, 24);
    form.send(Message::Planned(Ok(Box::new(plan()))));
    for rows in 0..5 {
        let mut stage = Stage::home(80, 24);
        stage.send(Message::Planned(Ok(Box::new(plan()))));
        for _ in 0..rows {
            stage.key(KeyCode::Up);
        }
        stages.push(stage);
    }
    stages.push(form);
    let mut trouble = Stage::home(80, 24);
    trouble.send(Message::Planned(Err(Report::usage("no such runbook"))));
    stages.push(trouble);
    stages
}

#[test]
fn a_step_starts_by_enter_and_only_once() {
    let mut story = Story::new(true, false);
    story.begin(0, "restore").ask(1, "restore", Question::Ready);
    let mut stage = story.screen(10, 80, 24);
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Answer(Answer::Go)]);
    assert_eq!(stage.key(KeyCode::Enter), []);
}

#[test]
fn a_key_pressed_for_the_last_question_does_not_answer_the_next() {
    let mut story = Story::new(true, false);
    story.begin(0, "announce").ask(1, "announce", Question::Ready);
    let mut stage = story.screen(10, 80, 24);
    stage.key(KeyCode::Enter);
    story.tell(11, Fact::Answered { step: "announce".into(), answer: Answer::Go, by: "ada".into() });
    story.prove(11, "announce", 1).begin(12, "maintenance.on").ask(12, "maintenance.on", Question::Ready);
    stage.send(Message::Told(Box::new(story.snapshot())));
    stage.send(Message::Drawn);
    assert_eq!(stage.key(KeyCode::Enter), [], "auto-repeat");
    stage.pass(Duration::from_millis(300));
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Answer(Answer::Go)]);
}

#[test]
fn an_answer_that_is_refused_says_why_and_can_be_given_again() {
    let mut stage = broken().screen(520, 80, 24);
    assert_eq!(stage.key(KeyCode::Char('r')), [Effect::Answer(Answer::Retry)]);
    stage.send(Message::Refused(Report::failed("the disk is full")));
    assert!(stage.shown().contains("the disk is full"), "{}", stage.shown());
    stage.key(KeyCode::Esc);
    stage.seen();
    assert_eq!(stage.key(KeyCode::Char('r')), [Effect::Answer(Answer::Retry)]);
}

#[test]
fn skip_override_and_abort_need_a_reason() {
    type Made = fn(String) -> Answer;
    let made: [(char, Made); 3] =
        [('s', |reason| Answer::Skip { reason }), ('o', |reason| Answer::Override { reason }), ('a', |reason| Answer::Abort { reason })];
    for (letter, answer) in made {
        let mut stage = broken().screen(520, 80, 24);
        stage.key(KeyCode::Char(letter));
        assert_eq!(stage.model.focus(), Focus::Reason);
        assert_eq!(stage.ctrl('y'), [], "an empty reason");
        stage.type_text("  ");
        stage.key(KeyCode::Enter);
        assert_eq!(stage.ctrl('y'), [], "only space");
        stage.type_text("ask Grace,");
        stage.key(KeyCode::Enter);
        stage.type_text("she knows");
        assert_eq!(stage.ctrl('y'), [Effect::Answer(answer("ask Grace,\nshe knows".into()))]);
    }
}

#[test]
fn undo_asks_first_and_says_what_it_does() {
    let mut stage = broken().screen(520, 80, 24);
    assert_eq!(stage.key(KeyCode::Char('u')), []);
    assert!(stage.shown().contains("DROP DATABASE orders_restored"), "{}", stage.shown());
    assert_eq!(stage.key(KeyCode::Enter), [], "Enter is no yes");
    assert_eq!(stage.key(KeyCode::Char('y')), [Effect::Answer(Answer::Undo)]);
}

#[test]
fn what_may_harm_twice_is_not_retried_by_one_key() {
    let mut story = Story::new(true, false);
    story.begin(0, "restore").ask(1, "restore", Question::Unknown { repeatable: false, undo: false });
    let mut stage = story.screen(10, 80, 24);
    assert_eq!(stage.key(KeyCode::Char('r')), []);
    assert_eq!(stage.ctrl('y'), [Effect::Answer(Answer::Retry)]);
    assert_eq!(stage.key(KeyCode::Char('u')), [], "nothing to undo");
}

fn manual() -> Stage {
    let mut story = Story::new(false, true);
    let field = |name: &str, choices: &[&str]| crate::runbook::plan::Field {
        name: name.into(),
        label: name.into(),
        kind: crate::runbook::plan::FieldKind::Text,
        choices: choices.iter().map(|choice| (*choice).into()).collect(),
        sample: None,
    };
    let question = Question::Manual {
        checklist: vec!["say it".into(), "lock it".into()],
        fields: vec![field("commander", &[]), field("severity", &["major", "minor"])],
    };
    story.begin(0, "announce").ask(1, "announce", question);
    story.screen(12, 80, 24)
}

#[test]
fn a_date_that_is_over_is_refused_where_it_is_written() {
    let mut story = Story::new(false, true);
    let until = crate::runbook::plan::Field {
        name: "keep_until".into(),
        label: "The old database is kept until (YYYY-MM-DD)".into(),
        kind: crate::runbook::plan::FieldKind::ComingDay,
        choices: Vec::new(),
        sample: None,
    };
    story.begin(0, "announce").ask(1, "announce", Question::Manual { checklist: Vec::new(), fields: vec![until] });
    let mut stage = story.screen(12, 80, 24);
    stage.key(KeyCode::Enter);
    stage.type_text("2020-01-01");
    stage.key(KeyCode::Enter);
    assert!(stage.shown().contains("✗ 2020-01-01 is over: give 2026-03-01 or a later day"), "{}", stage.shown());
    assert!(stage.shown().replace(['\n', ' '], "").contains("YYYY-MM-DD"), "{}", stage.shown());
    assert_eq!(stage.key(KeyCode::Char('d')), [], "not done with that");
    stage.key(KeyCode::Enter);
    stage.ctrl('u');
    stage.type_text("1.4.2026");
    stage.key(KeyCode::Enter);
    assert!(stage.shown().contains("✗ write a day as YYYY-MM-DD: 2026-03-01 or later"), "{}", stage.shown());
    stage.key(KeyCode::Enter);
    stage.ctrl('u');
    stage.type_text("2026-04-01");
    stage.key(KeyCode::Enter);
    let fields = BTreeMap::from([("keep_until".to_owned(), "2026-04-01".to_owned())]);
    assert_eq!(stage.key(KeyCode::Char('d')), [Effect::Answer(Answer::Done { fields })]);
}

#[test]
fn answers_are_corrected_while_nothing_was_carried_out_since() {
    let manual = |fields| Question::Manual { checklist: Vec::new(), fields };
    let field = crate::runbook::plan::Field {
        name: "commander".into(),
        label: "Commander".into(),
        kind: crate::runbook::plan::FieldKind::Text,
        choices: Vec::new(),
        sample: None,
    };
    let mut story = Story::new(true, false);
    let done = Answer::Done { fields: BTreeMap::from([("commander".to_owned(), "Grce".to_owned())]) };
    story.begin(0, "announce").ask(1, "announce", manual(vec![field.clone()]));
    story.tell(5, Fact::Answered { step: "announce".into(), answer: done, by: "ada".into() });
    story.tell(5, Fact::StepProven { step: "announce".into(), how: crate::run::fact::Proven::Action });
    story.begin(6, "maintenance.on").ask(6, "maintenance.on", Question::Ready);
    let mut stage = story.screen(12, 80, 24);
    assert!(stage.shown().contains("b back   "), "{}", stage.shown());
    assert_eq!(stage.key(KeyCode::Char('b')), [Effect::Answer(Answer::Back)]);
    story.tell(13, Fact::Answered { step: "maintenance.on".into(), answer: Answer::Back, by: "ada".into() });
    let mut back = Story { entries: story.entries.clone(), ..Story::new(true, false) };
    back.tell(13, Fact::StepReopened { step: "announce".into() });
    back.begin(13, "announce").ask(13, "announce", manual(vec![field]));
    let mut stage = back.screen(14, 80, 24);
    assert!(stage.shown().contains("Grce"), "what was answered is there to be corrected: {}", stage.shown());
    assert_eq!(stage.key(KeyCode::Char('b')), [], "nothing was answered before it");
    // Once the next step's action began there is no way back.
    story.tell(14, Fact::ActionStarted { step: "maintenance.on".into(), action: "PUT".into() });
    story.tell(15, Fact::StepFailed { step: "maintenance.on".into(), error: Report::failed("no") });
    story.ask(15, "maintenance.on", Question::Failed { error: Report::failed("no"), undo: true });
    let mut stage = story.screen(20, 80, 24);
    assert_eq!(stage.key(KeyCode::Char('b')), []);
    assert!(!stage.shown().contains("b back   "), "{}", stage.shown());
}

#[test]
fn an_undo_that_failed_is_seen() {
    let mut story = broken();
    story.tell(530, Fact::Answered { step: "restore".into(), answer: Answer::Undo, by: "ada".into() });
    let error = Report::refused("there is no database \"orders_restored\"").cause("somebody dropped it");
    story.tell(531, Fact::StepUndone { step: "restore".into(), error: Some(error) });
    story.ask(531, "restore", Question::Failed { error: crate::tui::fixture::failed(), undo: true });
    let shown = story.screen(540, 80, 24).shown();
    assert!(shown.contains("It could not be taken back: there is no database"), "{shown}");
    assert!(shown.contains("Undo tries once more; or do it by hand"), "{shown}");
    assert!(shown.contains("somebody dropped it"), "{shown}");
}

#[test]
fn no_undo_is_offered_where_nothing_was_touched() {
    let mut story = Story::new(true, false);
    story.until_restore().begin(190, "restore");
    story.tell(200, Fact::UndoRegistered { step: "restore".into(), undo: "DROP DATABASE orders_restored".into() });
    story.tell(200, Fact::ActionStarted { step: "restore".into(), action: "lifeboat restore".into() });
    let error = Report::usage("2020-01-01 is over: nothing is kept until then");
    story.tell(201, Fact::ActionEnded { step: "restore".into(), outputs: BTreeMap::new(), error: Some(error.clone()) });
    story.tell(201, Fact::StepFailed { step: "restore".into(), error: error.clone() });
    let step = story.snapshot().state.step("restore").cloned().unwrap();
    assert!(!step.can_be_undone() && step.undo.is_some());
    story.ask(201, "restore", Question::Failed { error, undo: step.can_be_undone() });
    let mut stage = story.screen(210, 80, 24);
    assert!(stage.shown().contains("Nothing was changed: there is nothing to undo."), "{}", stage.shown());
    assert_eq!(stage.key(KeyCode::Char('u')), []);
    // What an earlier attempt may have changed is still there to be taken back.
    assert!(broken().snapshot().state.step("restore").unwrap().can_be_undone());
    let mut twice = broken();
    twice.tell(600, Fact::ActionStarted { step: "restore".into(), action: "lifeboat restore".into() });
    let error = Report::usage("orders_restored exists already");
    twice.tell(601, Fact::ActionEnded { step: "restore".into(), outputs: BTreeMap::new(), error: Some(error) });
    assert!(twice.snapshot().state.step("restore").unwrap().can_be_undone());
}

#[test]
fn giving_up_names_the_step_that_is_taken_back_and_shows_all_of_its_command() {
    let mut story = Story::new(true, false);
    let undo =
        "curl -fsS -X PUT --data '{\"mute\": false, \"for\": \"everybody who was muted before\"}' https://admin.example.org/tests/END";
    story.begin(0, "maintenance.mute");
    story.tell(1, Fact::UndoRegistered { step: "maintenance.mute".into(), undo: undo.into() });
    story.tell(1, Fact::ActionStarted { step: "maintenance.mute".into(), action: "smokectl mute".into() });
    story.tell(2, Fact::StepProven { step: "maintenance.mute".into(), how: crate::run::fact::Proven::Checked });
    story.begin(3, "restore").ask(3, "restore", Question::Ready);
    story.tell(4, Fact::Answered { step: "restore".into(), answer: Answer::Abort { reason: "enough".into() }, by: "ada".into() });
    story.ask(5, "maintenance.mute", Question::TakeBack { undo: undo.into() });
    let mut stage = story.screen(10, 80, 24);
    let shown = stage.shown();
    assert!(shown.contains("Take step 3 back: Mute the smoke tests?"), "{shown}");
    let question = shown.split("The run is given up").nth(1).unwrap();
    assert!(question.contains("/tests/END"), "{shown}");
    stage.key(KeyCode::Char('u'));
    let shown = stage.shown();
    assert!(shown.contains("Take step 3 back, Mute the smoke tests:") && shown.contains("/tests/END"), "{shown}");
}

#[test]
fn space_ticks_and_stays_enter_ticks_and_goes_on() {
    let mut stage = manual();
    let at = |stage: &Stage| stage.model.run.as_ref().unwrap().asking.as_ref().unwrap().at;
    stage.key(KeyCode::Char(' '));
    assert_eq!(at(&stage), 0);
    stage.key(KeyCode::Down);
    assert_eq!(at(&stage), 1);
    stage.key(KeyCode::Enter);
    assert_eq!(at(&stage), 2);
    // Enter where Space ticked already goes on, and takes nothing back.
    stage.key(KeyCode::Up);
    stage.key(KeyCode::Enter);
    assert_eq!(at(&stage), 2);
    assert_eq!(stage.model.run.as_ref().unwrap().asking.as_ref().unwrap().ticks, [true, true]);
}

#[test]
fn what_was_missing_is_not_said_any_more_once_it_is_there() {
    let mut stage = manual();
    stage.key(KeyCode::Char('d'));
    assert!(stage.shown().contains("2 boxes not ticked"), "{}", stage.shown());
    stage.key(KeyCode::Char(' '));
    assert!(!stage.shown().contains("not ticked"), "{}", stage.shown());
}

#[test]
fn before_a_dump_is_picked_the_screen_says_which_it_will_be() {
    let mut story = Story::new(true, false);
    story.begin(0, "pick");
    let words = "production-202602280200.sql.gz.gpg, as of 2026-02-28T02:00:01Z, 1204332 rows, 25h old";
    story.tell(1, Fact::Foreseen { step: "pick".into(), words: words.into() }).ask(1, "pick", Question::Ready);
    let shown = story.screen(5, 80, 24).shown();
    assert!(shown.contains("will take  production-202602280200.sql.gz.gpg"), "{shown}");
    assert!(shown.contains("1204332 rows, 25h old"), "{shown}");
}

#[test]
fn a_stage_that_began_anew_is_drawn_once() {
    let mut story = running();
    let mut again = story.readings[0].clone();
    again.done = false;
    again.bytes = 0;
    story.readings.push(again);
    let shown = story.screen(300, 80, 24).shown();
    assert_eq!(shown.matches("s3  ").count(), 1, "{shown}");
}

#[test]
fn a_manual_step_is_done_when_all_is_ticked_and_filled_in() {
    let mut stage = manual();
    assert_eq!(stage.key(KeyCode::Char('d')), []);
    assert!(stage.shown().contains("2 boxes not ticked, 2 answers not filled in"), "{}", stage.shown());
    stage.key(KeyCode::Enter);
    stage.key(KeyCode::Enter);
    stage.key(KeyCode::Enter);
    stage.type_text("Grace d");
    stage.key(KeyCode::Enter);
    stage.key(KeyCode::Right);
    stage.key(KeyCode::Right);
    let fields = BTreeMap::from([("commander".to_owned(), "Grace d".to_owned()), ("severity".into(), "minor".into())]);
    assert_eq!(stage.key(KeyCode::Char('d')), [Effect::Answer(Answer::Done { fields })]);
}

#[test]
fn looking_at_other_steps_does_not_move_the_run_and_answers_nothing() {
    let mut stage = broken().screen(520, 80, 24);
    stage.key(KeyCode::Char('k'));
    for code in [KeyCode::Enter, KeyCode::Char('r'), KeyCode::Char('u'), KeyCode::Char('s'), KeyCode::Char('o'), KeyCode::Char('a')] {
        assert_eq!(stage.key(code), [], "{code:?}");
        assert_eq!(stage.model.focus(), Focus::Run, "{code:?}");
    }
    stage.key(KeyCode::Esc);
    stage.seen();
    assert_eq!(stage.key(KeyCode::Char('r')), [Effect::Answer(Answer::Retry)]);
}

#[test]
fn giving_up_while_an_action_runs_stops_it_and_answers_the_next_question() {
    let mut story = running();
    let mut stage = story.screen(300, 80, 24);
    stage.key(KeyCode::Char('q'));
    stage.key(KeyCode::Char('a'));
    stage.type_text("the primary is back");
    assert_eq!(stage.ctrl('y'), [Effect::Interrupt]);
    let error = Report::cancelled();
    story.tell(310, Fact::StepFailed { step: "restore".into(), error: error.clone() });
    story.ask(310, "restore", Question::Failed { error, undo: true });
    let effects = stage.send(Message::Told(Box::new(story.snapshot())));
    assert_eq!(effects, [Effect::Answer(Answer::Abort { reason: "the primary is back".into() })]);
    assert_eq!(stage.send(Message::Told(Box::new(story.snapshot()))), [], "once");
}

#[test]
fn a_live_run_is_not_left_by_one_key() {
    let mut stage = running().screen(300, 80, 24);
    assert_eq!(stage.key(KeyCode::Char('q')), []);
    assert!(matches!(stage.model.sheet, Some(Sheet::Leave)));
    assert_eq!(stage.key(KeyCode::Char('l')), [Effect::Quit]);
}

#[test]
fn a_run_can_be_left_for_home_and_found_again() {
    let mut story = running();
    let mut stage = story.screen(300, 80, 24);
    let mut overview = crate::tui::fixture::overview();
    overview.runs[0].id = story.snapshot().state.run.clone();
    stage.key(KeyCode::Char('q'));
    assert_eq!(stage.key(KeyCode::Char('h')), [Effect::Refresh]);
    stage.send(Message::Overview(Box::new(overview)));
    assert!(stage.shown().contains("followed here"), "{}", stage.shown());
    assert_eq!(stage.key(KeyCode::Enter), []);
    assert!(matches!(stage.model.screen, Screen::Run));
    story.tell(400, Fact::Parked { step: "restore".into() });
}

#[test]
fn the_palette_runs_a_command_by_name_and_may_answer_what_was_seen() {
    let mut stage = broken().screen(520, 80, 24);
    stage.key(KeyCode::Char(':'));
    stage.type_text("log");
    stage.send(Message::Drawn);
    stage.key(KeyCode::Enter);
    assert!(stage.model.run.as_ref().is_some_and(|run| run.log));
    stage.seen();
    stage.key(KeyCode::Char(':'));
    stage.type_text("retry");
    stage.send(Message::Drawn);
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Answer(Answer::Retry)]);
}

#[test]
fn the_palette_cannot_answer_a_question_that_came_meanwhile() {
    let mut story = running();
    let mut stage = story.screen(300, 80, 24);
    stage.key(KeyCode::Char(':'));
    stage.type_text("abort");
    story.ask(310, "restore", Question::Failed { error: Report::cancelled(), undo: true });
    stage.send(Message::Told(Box::new(story.snapshot())));
    assert_eq!(stage.key(KeyCode::Enter), []);
    assert_eq!(stage.model.focus(), Focus::Palette, "nothing by that name was possible");
}

#[test]
fn help_is_searched_by_typing() {
    let mut stage = broken().screen(520, 80, 24);
    stage.key(KeyCode::Char('?'));
    stage.type_text("proof");
    let shown = stage.shown();
    assert!(shown.contains("go on without proof") && !shown.contains("copy the commands"), "{shown}");
    stage.key(KeyCode::Esc);
    assert!(stage.model.page.is_none());
}

fn form(change: impl FnOnce(&mut Plan)) -> Stage {
    let mut stage = Stage::home(80, 24);
    let mut plan = plan();
    change(&mut plan);
    stage.send(Message::Planned(Ok(Box::new(plan))));
    stage
}

#[test]
fn a_form_starts_with_what_differs_from_the_defaults() {
    let mut stage = form(|plan| {
        plan.values.remove("database");
        plan.values.remove("staging");
    });
    assert_eq!(stage.ctrl('y'), [], "the database is missing");
    stage.type_text("orders");
    stage.key(KeyCode::Tab);
    stage.key(KeyCode::Tab);
    stage.key(KeyCode::Right);
    stage.key(KeyCode::Enter);
    let values = BTreeMap::from([("database".to_owned(), "orders".to_owned()), ("notify".into(), "nobody".into())]);
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Start { runbook: "restore".into(), values }]);
    assert_eq!(stage.key(KeyCode::Enter), [], "busy: once");
}

#[test]
fn known_dumps_can_be_cycled_through() {
    let mut stage = form(|_| {});
    for _ in 0..5 {
        stage.key(KeyCode::Up);
    }
    stage.ctrl('n');
    assert!(stage.shown().contains("orders-202602280200.sql.gz.gpg"), "{}", stage.shown());
}

#[test]
fn a_parameter_of_the_wrong_kind_is_said_beside_it() {
    let mut stage = form(|plan| {
        plan.parameters[1].kind = crate::runbook::plan::ParameterKind::Duration;
        plan.values.insert("database".into(), "soon".into());
    });
    assert_eq!(stage.ctrl('y'), []);
    assert!(stage.shown().contains("✗ not a duration: 15m, 2h 30m"), "{}", stage.shown());
}

#[test]
fn the_home_screen_opens_what_the_cursor_is_on() {
    let mut stage = Stage::home(80, 24);
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Resume("20260228-2104-restore".into())]);
    let mut stage = Stage::home(80, 24);
    for _ in 0..4 {
        stage.key(KeyCode::Char('j'));
    }
    stage.key(KeyCode::Enter);
    assert!(stage.shown().contains("access denied"), "an error in full: {}", stage.shown());
    stage.key(KeyCode::Esc);
    stage.key(KeyCode::Char('j'));
    stage.key(KeyCode::Char('j'));
    assert_eq!(stage.key(KeyCode::Enter), [Effect::Plan("restore".into())]);
}

#[test]
fn the_cursor_stays_on_its_row_when_more_is_gathered() {
    let mut stage = Stage::home(80, 24);
    stage.key(KeyCode::Char('j'));
    stage.key(KeyCode::Char('j'));
    let mut overview = crate::tui::fixture::overview();
    overview.runs.remove(0);
    stage.send(Message::Overview(Box::new(overview)));
    assert!(stage.shown().contains("▸✗ customers"), "{}", stage.shown());
}

#[test]
fn a_second_run_is_not_started_beside_a_live_one() {
    let mut stage = running().screen(300, 80, 24);
    stage.key(KeyCode::Char('q'));
    stage.key(KeyCode::Char('h'));
    stage.send(Message::Planned(Ok(Box::new(plan()))));
    assert_eq!(stage.ctrl('y'), []);
    assert!(stage.shown().contains("is being followed here"), "{}", stage.shown());
}

#[test]
fn copying_takes_the_exact_commands() {
    let mut stage = running().screen(300, 80, 24);
    let copied = stage.key(KeyCode::Char('y'));
    assert_eq!(copied, [Effect::Copy("lifeboat restore production-202602280200.sql.gz.gpg --into orders_restored".into())]);
}

#[test]
fn a_run_given_up_offers_each_undo_and_takes_a_plain_no() {
    let mut story = broken();
    story.tell(530, Fact::Answered { step: "restore".into(), answer: Answer::Abort { reason: "enough".into() }, by: "ada".into() });
    story.ask(531, "restore", Question::TakeBack { undo: "DROP DATABASE orders_restored".into() });
    let mut stage = story.screen(540, 80, 24);
    assert!(stage.shown().contains("DROP DATABASE orders_restored"), "{}", stage.shown());
    for code in [KeyCode::Enter, KeyCode::Char('a'), KeyCode::Char('s'), KeyCode::Char('r')] {
        assert_eq!(stage.key(code), [], "{code:?}");
    }
    assert_eq!(stage.key(KeyCode::Char('n')), [Effect::Answer(Answer::Leave)]);
    let mut stage = story.screen(540, 80, 24);
    stage.key(KeyCode::Char('u'));
    assert_eq!(stage.key(KeyCode::Char('y')), [Effect::Answer(Answer::Undo)]);
}

#[test]
fn the_cursor_does_not_jump_while_stores_are_being_asked() {
    let local = || {
        let mut overview = crate::tui::fixture::overview();
        overview.gathered_at = None;
        overview.shelves.clear();
        Message::Overview(Box::new(overview))
    };
    let mut stage = Stage::new(0, 80, 24);
    stage.send(local());
    assert!(stage.shown().contains("looking at every store"), "{}", stage.shown());
    stage.key(KeyCode::Char('j'));
    stage.key(KeyCode::Char('j'));
    let before = stage.model.row();
    stage.send(local());
    assert_eq!(stage.model.row(), before);
}
