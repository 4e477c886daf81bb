//! What the guard lets pass, and what it does not.

use crate::figures::{Baseline, Figure, Figures, Unit};

const TOOLS: &str = "rustc 1.95.0";

fn figures(rows: &[(&str, Unit, u64)]) -> Figures {
    let figure = |(subject, unit, count): &(&str, Unit, u64)| {
        let subject = (*subject).to_owned();
        (Figure { subject, unit: *unit }, *count)
    };
    rows.iter().map(figure).collect()
}

fn baseline(rows: &[(&str, Unit, u64)]) -> Baseline {
    Baseline::default().updated(TOOLS, &figures(rows), None).unwrap()
}

/// Compares a baseline with what was counted, and gives the changes as they are told.
#[track_caller]
fn check(before: &[(&str, Unit, u64)], now: &[(&str, Unit, u64)], expected: &[&str]) {
    let changes = baseline(before).changes(&figures(now));
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, expected);
}

#[test]
fn three_percent_pass_and_more_does_not() {
    let before = [("m", Unit::Instructions, 100_000)];
    check(&before, &[("m", Unit::Instructions, 103_000)], &[]);
    check(
        &before,
        &[("m", Unit::Instructions, 103_001)],
        &["m: 103001 instructions, 100000 before: +3.0 %"],
    );
    check(&before, &[("m", Unit::Instructions, 97_500)], &[]);
    check(
        &before,
        &[("m", Unit::Instructions, 90_000)],
        &["m: 90000 instructions, 100000 before: -10.0 %"],
    );
}

#[test]
fn one_allocation_more_of_few_is_a_rise() {
    check(
        &[("p", Unit::Allocations, 13)],
        &[("p", Unit::Allocations, 14)],
        &["p: 14 allocations, 13 before: +7.7 %"],
    );
}

#[test]
fn a_figure_from_nothing_is_a_rise() {
    check(
        &[("p", Unit::Allocations, 0)],
        &[("p", Unit::Allocations, 1)],
        &["p: 1 allocations, none before"],
    );
}

#[test]
fn a_subject_without_a_line_and_a_line_without_a_subject_are_told() {
    check(
        &[("old", Unit::Bytes, 7)],
        &[("new", Unit::Bytes, 7)],
        &[
            "old: no bytes any more, which the baseline has",
            "new: 7 bytes, which the baseline has not",
        ],
    );
}

#[test]
fn a_rise_needs_a_reason_which_stays_beside_it_until_it_falls() {
    let before = baseline(&[("m", Unit::Instructions, 100), ("n", Unit::Instructions, 100)]);
    let risen = figures(&[("m", Unit::Instructions, 120), ("n", Unit::Instructions, 102)]);
    assert_eq!(before.updated(TOOLS, &risen, None).unwrap_err().len(), 1);
    let stated = before.updated(TOOLS, &risen, Some("it \"does\" more")).unwrap();
    // What rose by less keeps its figure: otherwise small rises would add up unseen.
    let expected = "\"m\" = { instructions = 120, because = 'it \"does\" more' }\n\"n\" = { instructions = 100 }\n";
    assert!(stated.to_string().ends_with(expected), "{stated}");
    assert_eq!(Baseline::parse(&stated.to_string()).unwrap(), stated);
    let fallen = figures(&[("m", Unit::Instructions, 90), ("n", Unit::Instructions, 100)]);
    let lowered = stated.updated(TOOLS, &fallen, None).unwrap();
    assert!(
        lowered.to_string().contains("\"m\" = { instructions = 90 }"),
        "{lowered}"
    );
}

#[test]
fn other_tools_count_other_instructions_and_the_same_allocations() {
    let rows = |n| figures(&[("m", Unit::Instructions, n), ("m", Unit::Allocations, n)]);
    let baseline = Baseline::default().updated(TOOLS, &rows(100), None).unwrap();
    assert!(baseline.is_of(TOOLS) && !baseline.is_of("rustc 1.96.0"));
    let changes = baseline.changes(&rows(120));
    let depends: Vec<bool> = changes.iter().map(|change| change.depends_on_tools()).collect();
    assert_eq!(depends, [true, false]);
    let anew = baseline.updated("rustc 1.96.0", &rows(101), None).unwrap();
    assert!(anew.to_string().contains("instructions = 101"), "{anew}");
}

#[test]
fn what_is_no_baseline_is_not_taken_for_an_empty_one() {
    for text in [
        "figures = 7",
        "[m]\ninstructions = \"7\"",
        "[m]\ninstruction = 7",
        "[m]\ninstructions = -7",
    ] {
        assert!(Baseline::parse(text).is_err(), "{text}");
    }
}

#[test]
fn of_two_counts_the_lower_one_counts() {
    let mut counted = figures(&[("m", Unit::Instructions, 100), ("n", Unit::Instructions, 100)]);
    crate::figures::lower(
        &mut counted,
        &figures(&[("m", Unit::Instructions, 90), ("n", Unit::Instructions, 110)]),
    );
    let expected = figures(&[("m", Unit::Instructions, 90), ("n", Unit::Instructions, 100)]);
    assert_eq!(counted, expected);
}
