//! ResolvedRefs: Secrets that are there, or not, or about to expire.

use super::*;
use crate::desired::secrets::Expiry;
use crate::desired::secrets::needs::{Part, Place};
use crate::desired::secrets::problem::{Fault, Problem};

fn problem(place: Part, fault: Fault) -> Problem {
    kept_problem(place, fault, None)
}

fn kept_problem(place: Part, fault: Fault, kept_until: Option<Timestamp>) -> Problem {
    let place = Place {
        part: place,
        field: "spec.somewhere".to_owned(),
        keys: "tls.crt".to_owned(),
    };
    let settings = crate::desired::tests::settings();
    Problem::new(&identity(), "some", &place, fault, kept_until, &settings)
}

/// What the policy's only Secret comes to while nobody answers for it.
pub(super) fn unreadable() -> Resolution {
    Resolution {
        referred: 1,
        problems: vec![problem(Part::Client, Fault::Unreadable("503".to_owned()))],
        ..Resolution::default()
    }
}

#[test]
fn secrets_are_resolved_or_their_first_fault_is_told() {
    let mut world = settled();
    check(
        &world.next(),
        Kind::ResolvedRefs,
        "True",
        Reason::Resolved,
        &["no Secret"],
    );
    world.secrets.referred = 2;
    world.secrets.problems = vec![problem(Part::Client, Fault::Unreadable("503".to_owned()))];
    let words = &["stays in force: 503"];
    check(
        &world.next(),
        Kind::ResolvedRefs,
        "Unknown",
        Reason::SecretUnreadable,
        words,
    );
    check(&world.next(), Kind::Degraded, "False", Reason::AsExpected, &[]);
    world
        .secrets
        .problems
        .push(problem(Part::Client, Fault::NotFound));
    let status = world.next();
    check(
        &status,
        Kind::ResolvedRefs,
        "False",
        Reason::SecretNotFound,
        &["payments/some does not exist"],
    );
    check(
        &status,
        Kind::Degraded,
        "True",
        Reason::UnresolvedRefs,
        &["payments/some"],
    );
    check(&status, Kind::Ready, "True", Reason::Serving, &[]);
    world
        .secrets
        .problems
        .push(problem(Part::Listener, Fault::NotLabelled));
    check(
        &world.next(),
        Kind::Ready,
        "False",
        Reason::UnresolvedRefs,
        &["kubectl label"],
    );
}

#[test]
fn a_listener_that_keeps_its_certificate_is_a_fault_and_serves() {
    let mut world = settled();
    world.secrets.referred = 1;
    let end = Timestamp::from_second(T0 + 86400).unwrap();
    let fault = Fault::Invalid("cannot be used: tls.key is no PEM".to_owned());
    world.secrets.problems = vec![kept_problem(Part::Listener, fault.clone(), Some(end))];
    let status = world.next();
    let words = format!(
        "payments/some cannot be used: tls.key is no PEM; the last good certificate stays in force until {end}"
    );
    let (kind, reason) = (Kind::ResolvedRefs, Reason::SecretInvalid);
    check(&status, kind, "False", reason, &[&words]);
    check(&status, Kind::Degraded, "True", Reason::UnresolvedRefs, &[&words]);
    check(&status, Kind::Ready, "True", Reason::Serving, &[]);
    world.secrets.problems = vec![kept_problem(Part::Listener, fault, None)];
    let status = world.next();
    check(
        &status,
        Kind::Ready,
        "False",
        Reason::UnresolvedRefs,
        &["tls.key"],
    );
}

#[test]
fn a_certificate_is_worth_a_word_before_its_end_and_after() {
    let mut world = settled();
    world.secrets.referred = 1;
    let place = Place {
        part: Part::Listener,
        field: "spec.listener.tls.certificateRef".to_owned(),
        keys: String::new(),
    };
    for (days, word) in [(15, None), (14, Some("expires at")), (0, Some("has expired at"))] {
        world.secrets.expiries = vec![Expiry {
            secret: "tls".to_owned(),
            place: place.clone(),
            not_before: Timestamp::from_second(T0 - 365 * 86400).unwrap(),
            not_after: Timestamp::from_second(T0 + days * 86400).unwrap(),
            kept: false,
        }];
        let status = world.next();
        let message = &find(&status.conditions, Kind::ResolvedRefs).unwrap().message;
        assert_eq!(message.contains("renew it"), word.is_some(), "{days}: {message}");
        assert!(message.contains(word.unwrap_or("in use")), "{days}: {message}");
    }
    world.secrets.expiries[0].not_before = Timestamp::from_second(T0 + 60).unwrap();
    world.secrets.expiries[0].not_after = Timestamp::from_second(T0 + 365 * 86400).unwrap();
    let status = world.next();
    let message = &find(&status.conditions, Kind::ResolvedRefs).unwrap().message;
    assert!(
        message.contains("is not valid before") && !message.contains("in use"),
        "{message}"
    );
    world.now += 60;
    let status = world.next();
    let message = &find(&status.conditions, Kind::ResolvedRefs).unwrap().message;
    assert!(message.contains("is in use"), "{message}");
}
