//! Forms that Go writes and reads, forms that Rust writes, and what nobody should.

use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn questions_are_byte_for_byte_those_of_go() {
    let wrap = ask_to_wrap("p1", &["Enabled".to_owned()], b"{}");
    assert_eq!(
        text(&wrap),
        r#"{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"p1":["RW5hYmxlZA=="]},"DecryptConfig":{"Parameters":null}},"optsdata":"e30="},"keyunwrapparams":{"dc":null,"annotation":null}}"#
    );
    let unwrap = ask_to_unwrap("p1", &[], b"packet");
    assert_eq!(
        text(&unwrap),
        r#"{"op":"keyunwrap","keywrapparams":{"ec":null,"optsdata":null},"keyunwrapparams":{"dc":{"Parameters":{}},"annotation":"cGFja2V0"}}"#
    );
    let unwrap = ask_to_unwrap("p1", &["a".to_owned()], b"packet");
    assert!(text(&unwrap).contains(r#""dc":{"Parameters":{"p1":["YQ=="]}}"#));
}

#[test]
fn bytes_are_read_in_each_form() {
    for form in [r#""AQID""#, "[1,2,3]"] {
        let answer = format!(
            r#"{{"keywrapresults":{{"annotation":{form}}},"keyunwrapresults":{{"optsdata":null}}}}"#
        );
        assert_eq!(wrapped(answer.as_bytes()).unwrap(), [1, 2, 3], "{form}");
        let answer = format!(r#"{{"keyunwrapresults":{{"optsdata":{form}}}}}"#);
        assert_eq!(*unwrapped(answer.as_bytes()).unwrap(), [1, 2, 3], "{form}");
    }
    for optsdata in [r#""{\"symkey\":1}""#, r#""eyJzeW1rZXkiOjF9""#] {
        let asked = format!(
            r#"{{"op":"keywrap","keywrapparams":{{"ec":{{"Parameters":{{"p":["YQ==",[98]]}}}},"optsdata":{optsdata}}},"keyunwrapparams":null}}"#
        );
        let Ok(Question::Wrap { arguments, options }) = question(asked.as_bytes()) else {
            panic!("{asked}");
        };
        assert_eq!(text(&options), r#"{"symkey":1}"#);
        assert_eq!(arguments["p"], [b"a".to_vec(), b"b".to_vec()]);
    }
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let (packet, options) = (answer_wrapped(b"packet"), answer_unwrapped(b"options"));
    assert_eq!(wrapped(&packet).unwrap(), b"packet");
    assert_eq!(*unwrapped(&options).unwrap(), b"options");
    assert_eq!(wrapped(&options), Err(AnswerError::OtherOperation));
    assert_eq!(unwrapped(&packet), Err(AnswerError::OtherOperation));
    let both = r#"{"keywrapresults":{"annotation":"AQ=="},"keyunwrapresults":{"optsdata":"AQ=="}}"#;
    assert_eq!(wrapped(both.as_bytes()), Err(AnswerError::OtherOperation));
    assert_eq!(unwrapped(both.as_bytes()), Err(AnswerError::OtherOperation));
}

#[test]
fn empty_and_malformed_answers_are_refused() {
    for empty in [
        "{}",
        r#"{"keywrapresults":null}"#,
        r#"{"keywrapresults":{"annotation":""}}"#,
        r#"{"keywrapresults":{"annotation":[]},"keyunwrapresults":{}}"#,
    ] {
        assert_eq!(
            wrapped(empty.as_bytes()),
            Err(AnswerError::Empty),
            "{empty}"
        );
        assert_eq!(
            unwrapped(empty.as_bytes()),
            Err(AnswerError::Empty),
            "{empty}"
        );
    }
    for malformed in [
        "",
        "null",
        "[]x",
        r#"{"keywrapresults":{"annotation":"A"}}"#,
        r#"{"keywrapresults":{"annotation":[256]}}"#,
        r#"{"keywrapresults":{"annotation":[-1]}}"#,
        r#"{"keywrapresults":{"annotation":[[1]]}}"#,
        r#"{"keywrapresults":{"annotation":7}}"#,
        r#"{"keywrapresults":{"annotation":"AQ==","annotation":"Ag=="}}"#,
        r#"{"keywrapresults":{"annotation":"AQ=="},"keywrapresults":{}}"#,
        r#"{"keywrapresults":{"annotation":"AQ=="}} {}"#,
    ] {
        assert_eq!(
            wrapped(malformed.as_bytes()),
            Err(AnswerError::Malformed),
            "{malformed}"
        );
    }
}

#[test]
fn questions_without_what_they_need_are_refused() {
    let refused = |text: &str| question(text.as_bytes()).err();
    assert_eq!(refused(r#"{"op":"sign"}"#), Some(QuestionError::Operation));
    assert_eq!(
        refused(r#"{"op":"keywrap"}"#),
        Some(QuestionError::Missing("keywrapparams"))
    );
    assert_eq!(
        refused(r#"{"op":"keywrap","keywrapparams":{}}"#),
        Some(QuestionError::Missing("optsdata"))
    );
    let packetless =
        r#"{"op":"keyunwrap","keyunwrapparams":{"dc":{"Parameters":{"privkeys":["AQ=="]}}}}"#;
    assert_eq!(
        refused(packetless),
        Some(QuestionError::Missing("annotation"))
    );
    assert_eq!(refused("{}"), Some(QuestionError::Malformed));
}

proptest! {
    #[test]
    fn hostile_texts_are_errors(body: Vec<u8>, text: String) {
        for text in [&body[..], text.as_bytes()] {
            prop_assert!(wrapped(text).is_err());
            prop_assert!(unwrapped(text).is_err());
            prop_assert!(question(text).is_err());
        }
    }

    #[test]
    fn hostile_members_are_errors_or_bytes(member in "[\\[\\]{}\",0-9a-zA-Z=:nul-]{0,40}") {
        let _ = wrapped(format!(r#"{{"keywrapresults":{{"annotation":{member}}}}}"#).as_bytes());
        let _ = question(format!(r#"{{"op":"keywrap","keywrapparams":{{"ec":{member},"optsdata":"AQ=="}}}}"#).as_bytes());
    }

    #[test]
    fn both_sides_understand_each_other(options in prop::collection::vec(any::<u8>(), 1..300), argument: String) {
        let asked = ask_to_wrap("kms", std::slice::from_ref(&argument), &options);
        let Ok(Question::Wrap { arguments, options: read }) = question(&asked) else {
            return Err(TestCaseError::fail("not a wrap"));
        };
        prop_assert_eq!(&*read, &options);
        prop_assert_eq!(&arguments["kms"], &[argument.into_bytes()]);
        let asked = ask_to_unwrap("kms", &[], &options);
        let Ok(Question::Unwrap { packet }) = question(&asked) else {
            return Err(TestCaseError::fail("not an unwrap"));
        };
        prop_assert_eq!(&packet, &options);
        prop_assert_eq!(&wrapped(&answer_wrapped(&options)).unwrap(), &options);
        prop_assert_eq!(&*unwrapped(&answer_unwrapped(&options)).unwrap(), &options);
    }
}
