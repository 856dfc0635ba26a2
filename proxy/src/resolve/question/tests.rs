//! What messages mean: rows of answers.

use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};

use super::*;

const ID: u16 = 7;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(family: Family) -> Question {
    Question::new(ID, "a.example", family).unwrap()
}

/// An answer of a resolver to the question for A of a.example.
fn answer(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::response(ID, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(Query::query(name("a.example."), RecordType::A));
    change(&mut message);
    message.to_vec().unwrap()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    record(owner, ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.example."), name("admin.example."), 1, 2, 3, 4, minimum);
    record("example.", ttl, RData::SOA(soa))
}

fn found(ttl: u32, last: &[u8]) -> Reading {
    let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
    Reading::Answer(Meaning::Found { addresses, ttl })
}

fn missing(ttl: Option<u32>) -> Reading {
    Reading::Answer(Meaning::Missing { ttl })
}

#[track_caller]
fn check(change: impl FnOnce(&mut Message), expected: Reading) {
    assert_eq!(question(Family::V4).read(&answer(change)), expected);
}

fn with(records: Vec<Record>) -> impl FnOnce(&mut Message) {
    move |message| {
        message.add_answers(records);
    }
}

fn code(code: ResponseCode) -> impl FnOnce(&mut Message) {
    move |message| message.metadata.response_code = code
}

#[test]
fn addresses_are_those_at_the_end_of_the_aliases() {
    check(
        with(vec![a("a.example.", 60, 1), a("a.example.", 30, 2)]),
        found(30, &[1, 2]),
    );
    check(with(vec![a("A.EXAMPLE.", 60, 1)]), found(60, &[1]));
    let aliases = || {
        vec![
            a("c.example.", 60, 3),
            cname("b.example.", 20, "c.example."),
            cname("a.example.", 50, "b.example."),
        ]
    };
    check(with(aliases()), found(20, &[3]));
    // What is of another name is nobody's answer.
    check(with(vec![a("b.example.", 60, 1)]), missing(None));
    check(with(vec![a("a.example.", u32::MAX, 1)]), found(0, &[1]));
    let v6 = RData::AAAA(AAAA("2001:db8::1".parse().unwrap()));
    check(with(vec![record("a.example.", 60, v6)]), missing(None));
}

#[test]
fn aliases_in_circles_or_without_end_are_no_answer() {
    check(
        with(vec![cname("a.example.", 1, "a.example.")]),
        Reading::Flawed(Flaw::Aliases),
    );
    let circle = vec![
        cname("a.example.", 1, "b.example."),
        cname("b.example.", 1, "a.example."),
    ];
    check(with(circle), Reading::Flawed(Flaw::Aliases));
    let chain = |length: usize| {
        let owner = |n: usize| {
            if n == 0 {
                "a.example.".to_owned()
            } else {
                format!("n{n}.example.")
            }
        };
        let mut records: Vec<_> = (0..length).map(|n| cname(&owner(n), 9, &owner(n + 1))).collect();
        records.push(a(&owner(length), 9, 1));
        records
    };
    check(with(chain(ALIASES_MAX)), found(9, &[1]));
    check(with(chain(ALIASES_MAX + 1)), Reading::Flawed(Flaw::Aliases));
    check(with(vec![cname("a.example.", 1, "b.example.")]), missing(None));
}

#[test]
fn what_is_missing_is_missing_for_as_long_as_the_zone_says() {
    check(|_| {}, missing(None));
    check(code(ResponseCode::NXDomain), missing(None));
    for (ttl, minimum, expected) in [(60, 10, 10), (5, 300, 5), (u32::MAX, 300, 0)] {
        check(
            |message| {
                message.add_authority(soa(ttl, minimum));
            },
            missing(Some(expected)),
        );
    }
    check(
        |message| {
            message.metadata.response_code = ResponseCode::NXDomain;
            message.add_answer(a("a.example.", 60, 1));
            message.add_authority(soa(60, 10));
        },
        missing(Some(10)),
    );
}

#[test]
fn errors_are_none_of_these() {
    for (given, flaw) in [
        (ResponseCode::ServFail, Flaw::ServFail),
        (ResponseCode::Refused, Flaw::Refused),
        (ResponseCode::NotImp, Flaw::NotImplemented),
        (ResponseCode::FormErr, Flaw::FormatError),
        (ResponseCode::NotAuth, Flaw::OtherCode),
        (ResponseCode::YXDomain, Flaw::OtherCode),
    ] {
        check(code(given), Reading::Flawed(flaw));
        let without_question = |message: &mut Message| {
            message.queries.clear();
            message.metadata.response_code = given;
        };
        check(without_question, Reading::Flawed(flaw));
    }
    // A server that only knows whom else to ask.
    let referral = |message: &mut Message| {
        message.metadata.recursion_available = false;
        message.add_authority(record("example.", 60, RData::NS(NS(name("ns.example.")))));
    };
    check(referral, Reading::Flawed(Flaw::Referral));
    check(
        |message| message.metadata.recursion_available = false,
        Reading::Flawed(Flaw::Referral),
    );
    let authoritative = |message: &mut Message| {
        message.metadata.recursion_available = false;
        message.metadata.authoritative = true;
    };
    check(authoritative, missing(None));
}

#[test]
fn what_does_not_answer_this_question_is_not_ours() {
    let ours = answer(with(vec![a("a.example.", 60, 1)]));
    let changed = |at: usize, byte: u8| {
        let mut bytes = ours.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, expected) in [
        (ours.clone(), found(60, &[1])),
        (changed(1, 8), Reading::NotOurs),
        (changed(2, 0), Reading::NotOurs),
        (changed(13, b'b'), Reading::NotOurs),
        (ours[..11].to_vec(), Reading::Flawed(Flaw::Garbage)),
        (ours[..ours.len() - 1].to_vec(), Reading::Flawed(Flaw::Garbage)),
        (b"garbage".to_vec(), Reading::Flawed(Flaw::Garbage)),
        (vec![], Reading::Flawed(Flaw::Garbage)),
    ] {
        assert_eq!(question(Family::V4).read(&bytes), expected, "{bytes:?}");
    }
    assert_eq!(question(Family::V6).read(&ours), Reading::NotOurs);
    check(|message| message.queries.clear(), Reading::NotOurs);
}

#[test]
fn what_was_cut_off_is_asked_for_again() {
    let truncated = |message: &mut Message| {
        message.metadata.truncation = true;
        message.add_answer(a("a.example.", 60, 1));
    };
    check(truncated, Reading::Truncated);
    let bytes = answer(truncated);
    // Cut in the middle of a record, too.
    assert_eq!(
        question(Family::V4).read(&bytes[..bytes.len() - 3]),
        Reading::Truncated
    );
}

#[test]
fn questions_are_for_absolute_names_that_a_message_can_carry() {
    let sent = question(Family::V6).message(Offer::Edns).unwrap();
    let read = Message::from_vec(&sent).unwrap();
    assert_eq!(read.queries, [Query::query(name("a.example."), RecordType::AAAA)]);
    assert!(read.metadata.recursion_desired && read.metadata.id == ID);
    assert_eq!(read.edns.map(|edns| edns.max_payload()), Some(PAYLOAD_BYTES));
    let plain = question(Family::V6).message(Offer::Plain).unwrap();
    assert!(Message::from_vec(&plain).unwrap().edns.is_none());
    for (text, fits) in [
        ("a".repeat(63), true),
        ("a".repeat(64), false),
        (vec!["a"; 126].join("."), true),
        (vec!["a"; 128].join("."), false),
        (
            ["a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(63)].join("."),
            false,
        ),
        ("_dmarc.example".to_owned(), true),
    ] {
        assert_eq!(Question::new(ID, &text, Family::V4).is_some(), fits, "{text}");
    }
}

#[test]
fn no_message_makes_it_stumble() {
    let good = answer(|message| {
        message.add_answers([cname("a.example.", 1, "b.example."), a("b.example.", 60, 1)]);
        message.add_authority(soa(60, 10));
    });
    for at in 0..good.len() {
        for byte in [0, 1, 0x0c, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            for family in Family::ALL {
                let _ = question(family).read(&bytes);
                let _ = question(family).read(&bytes[..at]);
            }
        }
    }
}
