//! Rows of paths: what is hidden in them, what stays usable, and which prefixes they lie under.

use super::*;

#[test]
fn one_spelling() {
    for (text, expected) in [
        ("/", "/"),
        ("/hooks/a", "/hooks/a"),
        ("/%68ooks/%7ea", "/hooks/~a"),
        ("/a%c3%a9b", "/a%C3%A9b"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a.b/..c/...", "/a.b/..c/..."),
        ("/hooks/", "/hooks/"),
        ("/a%2ejson", "/a.json"),
    ] {
        assert_eq!(normalize(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn what_decoding_brings_to_light_is_no_path() {
    for text in [
        // Dot segments as they are, encoded, encoded again, with what servers cut off or take for a blank.
        "/a/../b",
        "/..",
        "/a/.",
        "/./a",
        "/..;/a",
        "/a/..;x=1/b",
        "/%2e%2e/a",
        "/.%2e/a",
        "/%2E/a",
        "/a/..%3b/b",
        "/a/..%253b/b",
        "/a/%252e%252e/b",
        "/a/%25252e%25252e",
        "/a/%25%32%65./b",
        "/a/%%32%65./b",
        "/a/..%20/b",
        "/a/%20../b",
        "/a/.%20./b",
        "/a/..%2520",
        "/a/..%a0/b",
        "/a/..%c2%a0/b",
        "/a/..%e3%80%80/b",
        "/a/.%e2%80%8b./b",
        "/a/..%3f/b",
        "/a/..%3fx/b",
        "/a/..%23/b",
        "/a/..%253fx",
        // Separators.
        "/a%2fb",
        "/a%2Fb",
        "/a%252fb",
        "/a/..%2fb",
        "/a/..%252fb",
        "/a%5cb",
        "/a\\b",
        "/a%255cb",
        "/..%5c..%5ca",
        // Control characters.
        "/a%00",
        "/a/..%09/b",
        "/a/.%0d./b",
        "/a%0a",
        "/a%7f",
        "/a%1f",
        "/a%2500",
        "/a%c2%85b",
        // Overlong UTF-8, of every length.
        "/%c0%ae%c0%ae/a",
        "/%c0%ae./a",
        "/%e0%80%ae%e0%80%ae/a",
        "/%f0%80%80%ae%f0%80%80%ae/a",
        "/%f8%80%80%80%ae./a",
        "/%fc%80%80%80%80%ae./a",
        "/a%c0%afb",
        "/a%e0%80%afb",
        "/a%f0%80%80%afb",
        "/a%c1%9cb",
        "/a%c0%80b",
        "/%25c0%25ae%25c0%25ae/a",
        // Full-width forms and other look-alikes.
        "/%ef%bc%8e%ef%bc%8e/a",
        "/%ef%bc%8e./a",
        "/a%ef%bc%8fb",
        "/a%ef%bc%bcb",
        "/%ef%bc%852e%ef%bc%852e/a",
        "/%ef%bc%85%ef%bc%92%ef%bd%85%ef%bc%852e/a",
        "/%e2%80%a4%e2%80%a4/a",
        "/%e2%80%a5/a",
        "/%ef%b9%92./a",
        "/a%e2%88%95b",
        "/a%e2%81%84b",
        "/a%e2%84%85b",
        "/..%ef%bc%9b/a",
        "/..%cd%be/a",
        // UTF-16 as one family of servers writes it.
        "/%u002e%u002e/a",
        "/a%u002fb",
        "/a%u2215b",
        "/%uff0e%uff0e/a",
        "/%25u002e./a",
    ] {
        assert_eq!(read(text), Err(Doubt::Hidden), "{text}");
    }
    // However deep, and deeper than anybody nests by accident.
    let (mut dot, mut letter) = ("%ef%bc%8e".to_owned(), "%ef%bd%81".to_owned());
    for depth in 0..6 {
        let path = format!("/a/{dot}./b");
        assert_eq!(read(&path), Err(Doubt::Hidden), "{depth}: {path}");
        assert_eq!(read(&format!("/{letter}")).is_ok(), depth < 3, "{depth}");
        (dot, letter) = (dot.replace('%', "%ef%bc%85"), letter.replace('%', "%ef%bc%85"));
    }
}

#[test]
fn what_is_not_in_the_grammar_is_no_path_either() {
    for text in [
        "",
        "*",
        "hooks",
        "/a//b",
        "//a",
        "/a%",
        "/a%4",
        "/a%zz",
        "/;/a",
        "/a/;x",
        "/a b",
        "/é",
        "/a?b",
        "/a#b",
        "/%20/a",
        "/%3f/a",
        "/a/%3bx/b",
    ] {
        assert_eq!(read(text), Err(Doubt::Odd), "{text}");
    }
}

#[test]
fn ordinary_paths_stay_usable_and_are_not_copied() {
    for text in [
        "/",
        "/hooks/a.json",
        "/a.b/..c/...",
        "/v1/users/@me:batchGet",
        "/a=b&c+d,e!f$g*(h)'i'",
        "/.well-known/x",
        "/a/",
        "/a./b",
    ] {
        assert!(
            matches!(
                read(text),
                Ok(Reading {
                    normal: Cow::Borrowed(_),
                    loose: None
                })
            ),
            "{text}"
        );
    }
    for text in [
        // A percent sign, also one that looks like an encoding once more.
        "/100%25",
        "/100%25/a",
        "/50%2525",
        "/%2541",
        "/a%252bb",
        "/a%20b",
        "/a%20/b",
        "/a%2cb",
        "/a%3fb",
        "/a%23b",
        "/a%3bb",
        "/a;v=1/b",
        // Latin-1, also behind a letter that begins overlong UTF-8.
        "/caf%e9",
        "/%c0-bient%f4t",
        "/D%c0o",
        "/%e0%e9%e8/%fc",
        // UTF-8: letters, ideographs, marks, an emoji of several code points.
        "/caf%c3%a9",
        "/%e6%97%a5%e6%9c%ac",
        "/%e4%bb%95%e6%a7%98%e3%80%82/a",
        "/%ef%bc%a1%ef%bc%a2",
        "/a%e2%80%a6",
        "/%f0%9f%91%a9%e2%80%8d%f0%9f%92%bb",
        "/%f0%9f%98%80/a",
    ] {
        assert!(read(text).is_ok(), "{text}: {:?}", read(text));
    }
}

fn under(path: &str, prefix: &str) -> (bool, bool, bool) {
    let (path, prefix) = (read(path).unwrap(), Prefix::parse(prefix).unwrap());
    (
        path.is_under(&prefix),
        path.may_be_under(&prefix),
        path.looks_under(&prefix),
    )
}

#[test]
fn parameters_make_a_path_doubtful_where_they_decide() {
    for (path, prefix, is, may_be) in [
        ("/admin;x", "/admin", false, true),
        ("/admin;x=1/a", "/admin", false, true),
        ("/admin%3bx", "/admin", false, true),
        ("/admin%3Bx;y/a", "/admin/", false, true),
        ("/a;x/b;y/c", "/a/b", false, true),
        ("/administrator;x", "/admin", false, false),
        ("/x;/admin", "/admin", false, false),
        ("/x;=/admin/y", "/admin", false, false),
        ("/admin/a;x", "/admin", true, true),
        ("/a;v=1/x", "/a;v=1/", true, true),
        ("/a;v=2/x", "/a;v=1/", false, true),
        ("/a/x", "/a;v=1/", false, true),
        ("/admin", "/admin", true, false),
    ] {
        let (found_is, found_may_be, _) = under(path, prefix);
        assert_eq!((found_is, found_may_be), (is, may_be), "{path} under {prefix}");
    }
}

#[test]
fn prefixes_end_at_a_segment() {
    for (path, prefix, expected) in [
        ("/hooks", "/hooks", true),
        ("/hooks/a", "/hooks", true),
        ("/hooks/", "/hooks", true),
        ("/hooksx", "/hooks", false),
        ("/hooks", "/hooks/", false),
        ("/hooks/a", "/hooks/", true),
        ("/Hooks/a", "/hooks/", false),
        ("/anything", "/", true),
        ("/%68ooks/a", "/hooks/", true),
    ] {
        assert_eq!(under(path, prefix).0, expected, "{path} under {prefix}");
    }
}

#[test]
fn a_path_looks_like_whatever_some_server_takes_it_for() {
    for path in [
        "/admin",
        "/Admin",
        "/ADMIN/x",
        "/admin.",
        "/admin../x",
        "/admin%20",
        "/admin%20.%20/x",
        "/%20admin",
        "/admin%a0",
        "/admin%3fx",
        "/admin%23x",
        "/admin;x",
        "/admin%3bx/y",
        "/%2561dmin",
        "/%61dmin",
        "/%25252561dmin",
        "/adm%c4%b1n",
        "/%ef%bd%81dmin",
        "/%ef%bc%a1DMIN",
        "/ad%e2%80%8bmin",
        "/%c1%a1dmin",
    ] {
        assert!(under(path, "/admin").2, "{path}");
    }
    for path in [
        "/administrator",
        "/x/admin",
        "/adm",
        "/",
        "/-admin",
        "/admin-x",
        "/admin.x",
    ] {
        assert!(!under(path, "/admin").2, "{path}");
    }
    assert!(under("/a/ADMIN./b", "/a/admin/").2 && !under("/a/admin", "/a/admin/").2);
    assert!(under("/CAF%C3%89", "/caf%C3%A9").2 && under("/caf%e9", "/caf%C3%A9").2);
    assert!(under("/my%20dir/x", "/My%20Dir").2 && under("/x", "/").2);
}
