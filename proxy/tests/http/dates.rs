//! Every final answer says when: in its origin's word, or in the proxy's (RFC 9110, 6.6.1).

use crate::support::{exchange, open};

#[tokio::test]
async fn an_answer_without_a_date_gets_one() {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // A date that its sender took back is none, and an interim answer needs none.
    let undated = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nConnection: date\r\nDate: then\r\n\r\n";
    let (_, answer, _) = exchange(request, 0, undated.as_bytes()).await;
    let (interim, last) = answer.split_at(answer.find("HTTP/1.1 404").unwrap());
    assert!(!interim.contains("Date"), "{interim}");
    assert_dated(last);
}

#[tokio::test]
async fn what_the_proxy_says_itself_has_a_date() {
    let proxy = open().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS http://a.example/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        "CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_dated(&proxy.raw(request.as_bytes()).await);
    }
}

/// One `Date`, in the one form that may be generated (RFC 9110, 5.6.7).
#[track_caller]
fn assert_dated(answer: &str) {
    let dates: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("Date: "))
        .collect();
    let [date] = dates[..] else {
        panic!("one date is expected: {answer}")
    };
    let digits = date.replace(|c: char| c.is_ascii_digit(), "0");
    let (day, rest) = digits.split_at_checked(5).unwrap();
    let (number, rest) = rest.split_at_checked(3).unwrap();
    let (month, rest) = rest.split_at_checked(3).unwrap();
    assert!(
        day.ends_with(", ") && number == "00 " && month.len() == 3,
        "{date}"
    );
    assert_eq!(rest, " 0000 00:00:00 GMT", "{date}");
}
