//! What the doors themselves refuse.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::atomic::Ordering,
};

use serde_json::{Value, json};
use server::Code;
use web::{Call, Client, ClientError, ListenError, LocalDoor, client::Question};

use crate::house::House;

fn code(answer: Result<web::wire::Answer<Value>, ClientError>) -> Code {
    match answer.unwrap_err() {
        ClientError::Refused { code, .. } => code,
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_does_not_name_is_refused() {
    let house = House::open().await;
    let client = house.root();
    let unknown = [("al", "true".to_owned())];
    let question = Question {
        path: &[],
        query: &unknown,
    };
    assert_eq!(
        code(client.get(Call::Leases, question).await),
        Code::Malformed
    );
    let twice = [("all", "true".to_owned()), ("all", "false".to_owned())];
    assert_eq!(
        code(
            client
                .get(
                    Call::Leases,
                    Question {
                        path: &[],
                        query: &twice
                    }
                )
                .await
        ),
        Code::Malformed
    );
    let node = [("name", "no-such-node")];
    let ban = |body: Value| {
        let client = house.root();
        async move {
            client
                .send(
                    Call::Ban,
                    Question {
                        path: &node,
                        query: &[],
                    },
                    &body,
                )
                .await
        }
    };
    assert_eq!(
        code(ban(json!({ "reason": "x", "force": true })).await),
        Code::Malformed
    );
    assert_eq!(
        code(ban(json!({ "reason": "a\nb" })).await),
        Code::Malformed
    );
    assert_eq!(
        code(ban(json!({ "reason": "not in the inventory" })).await),
        Code::NotFound
    );
    let body: Result<web::wire::Answer<Value>, _> = client
        .send(Call::Status, Question::default(), &json!({}))
        .await;
    assert_eq!(code(body), Code::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_and_other_methods_are_refused() {
    let house = House::open().await;
    let socket = house.kit.socket();
    let answers = tokio::task::spawn_blocking(move || {
        let ask = |head: &str| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream
                .write_all(format!("{head}host: localhost\r\nconnection: close\r\n\r\n").as_bytes())
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        [
            ask("POST /v1/estate/diff HTTP/1.1\r\ncontent-length: 9000000\r\n"),
            ask("DELETE /v1/secrets/db/pg/admin HTTP/1.1\r\n"),
            ask("GET /v1/secrets/db/pg/admin/value HTTP/1.1\r\n"),
            ask("GET / HTTP/1.1\r\n"),
        ]
    });
    let [long, method, value, other] = answers.await.unwrap();
    assert!(
        long.starts_with("HTTP/1.1 400") && long.contains("\"malformed\""),
        "{long}"
    );
    assert!(
        method.starts_with("HTTP/1.1 404") && method.contains("\"not-found\""),
        "{method}"
    );
    assert!(
        value.starts_with("HTTP/1.1 404") && other.starts_with("HTTP/1.1 404"),
        "{value}{other}"
    );
    assert!(other.contains("cache-control: no-store"), "{other}");
}

#[tokio::test]
async fn no_answer_holds_what_was_sealed() {
    let house = House::open().await;
    let sealed = house.sealed("db/pg/admin", "records").await;
    let client = house.person("chen@hospital.example").await;
    let name = [("name", "db/pg/admin")];
    let question = || Question {
        path: &name,
        query: &[],
    };
    let put: web::wire::Answer<Value> = client
        .send(Call::PutSecret, question(), &sealed)
        .await
        .unwrap();
    let shown: web::wire::Answer<Value> = client.get(Call::Secret, question()).await.unwrap();
    let listed: web::wire::Answer<Value> = client
        .get(Call::Secrets, Question::default())
        .await
        .unwrap();
    assert_eq!(shown.data["value"], "sealed");
    for text in [put.data, shown.data, listed.data].map(|data| data.to_string()) {
        assert!(
            !text.contains(sealed["ct"].as_str().unwrap()) && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_secret_sealed_for_another_owners_data_set_is_refused() {
    let house = House::open().await;
    let bea = house.person("bea@hospital.example").await;
    // Sealed to her own data set under a name that the other owner uses: whose it is told by the data set in the body.
    let name = [("name", "db/pg/admin")];
    let chens = house.sealed("db/pg/admin", "records").await;
    let question = || Question {
        path: &name,
        query: &[],
    };
    let refused: Result<web::wire::Answer<Value>, _> =
        bea.send(Call::PutSecret, question(), &chens).await;
    assert_eq!(code(refused), Code::Forbidden);
    let chen = house.person("chen@hospital.example").await;
    let _put: web::wire::Answer<Value> = chen
        .send(Call::PutSecret, question(), &chens)
        .await
        .unwrap();
    let hers = house.sealed("db/pg/admin", "bills").await;
    let moved: Result<web::wire::Answer<Value>, _> =
        bea.send(Call::PutSecret, question(), &hers).await;
    assert_eq!(code(moved), Code::Invalid);
}

#[tokio::test]
async fn certificates_of_others_are_no_persons() {
    let (house, elsewhere) = (House::open().await, House::open().await);
    let before = house.size().await;
    // A server's or node's certificate chains to the same root, and is an SVID: not a person.
    let machine = house.as_person(&house.kit.tls("127.0.0.1").as_person());
    // The right name, certified by another authority.
    let stranger = house.as_person(&elsewhere.kit.person("sam@hospital.example").await);
    for client in [machine, stranger] {
        let answer: Result<web::wire::Answer<Value>, _> =
            client.get(Call::Status, Question::default()).await;
        assert!(
            matches!(
                answer,
                Err(ClientError::Broken(_) | ClientError::Unreachable { .. })
            ),
            "{answer:?}"
        );
    }
    assert_eq!(house.size().await, before);
    assert_eq!(house.api.counters.handshakes.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_person_who_left_loses_everything_at_once() {
    let house = House::open().await;
    let former = house.former().await;
    let answer: Result<web::wire::Answer<Value>, _> =
        former.get(Call::Status, Question::default()).await;
    assert_eq!(code(answer), Code::Forbidden);
}

#[tokio::test]
async fn the_socket_is_its_owners_and_replaces_only_a_dead_one() {
    let folder = std::env::temp_dir().join(format!("bw-web-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("s");
    let door = LocalDoor::bind(&path).await.unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(
        LocalDoor::bind(&path).await,
        Err(ListenError::InUse { .. })
    ));
    drop(door);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(LocalDoor::bind(&path).await.unwrap());
    std::fs::write(&path, "no socket").unwrap();
    assert!(matches!(
        LocalDoor::bind(&path).await,
        Err(ListenError::InTheWay { .. })
    ));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn one_failure_of_an_estate_is_told_in_its_own_words() {
    let house = House::open().await;
    let files = json!({ "files": [["people.toml", "version = 1\n[teams]\n"]] });
    let client: Client = house.root();
    let answer: Result<web::wire::Answer<Value>, _> =
        client.send(Call::Apply, Question::default(), &files).await;
    let Err(ClientError::Refused {
        code: Code::Invalid,
        message,
        ..
    }) = answer
    else {
        panic!("{answer:?}")
    };
    assert!(
        message.contains("people.toml:2") && message.contains("did you mean `team`"),
        "{message}"
    );
}
