//! Every row of the table: without, with wrong and with right credentials, over both doors, and the leaf of each.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::Digest;
use ledger::Disclosure;
use serde_json::{Value, json};
use server::{Code, ports::LogEntry};
use web::{
    Authentication, Call, Client, ClientError, ENDPOINTS, Endpoint, Role, client::Question,
    wire::Answer,
};

use crate::house::House;

/// How a row is called by somebody who may, and who else may not.
struct Case {
    call: Call,
    path: Option<(&'static str, &'static str)>,
    right: &'static str,
    wrong: Option<&'static str>,
}

const ANA: &str = "ana@hospital.example"; // platform
const SAM: &str = "sam@hospital.example"; // security
const CHEN: &str = "chen@hospital.example"; // owns the data set `records`
const BEA: &str = "bea@hospital.example"; // owns another data set
const OLU: &str = "olu@auditor.example"; // audit
const CI: &str = "ci@hospital.example"; // a robot

const NODE: Option<(&str, &str)> = Some(("name", "dal05-n1"));
const SET: Option<(&str, &str)> = Some(("name", "medrec"));
const SECRET: Option<(&str, &str)> = Some(("name", "db/pg/admin"));

const fn case(
    call: Call,
    path: Option<(&'static str, &'static str)>,
    right: &'static str,
    wrong: Option<&'static str>,
) -> Case {
    Case {
        call,
        path,
        right,
        wrong,
    }
}

const CASES: [Case; 31] = [
    case(Call::Status, None, OLU, None),
    case(Call::Diff, None, OLU, None),
    case(Call::Apply, None, CI, Some(OLU)),
    case(Call::Changes, None, OLU, None),
    case(Call::Change, Some(("number", "1")), CI, None),
    case(Call::Approve, None, OLU, Some(CI)),
    case(Call::Reject, None, BEA, Some(CHEN)),
    case(Call::Promote, SET, CI, Some(OLU)),
    case(Call::Retire, SET, SAM, Some(CI)),
    case(Call::Nodes, None, OLU, None),
    case(Call::Node, NODE, OLU, None),
    case(Call::Token, NODE, ANA, Some(SAM)),
    case(Call::PutSecret, SECRET, CHEN, Some(BEA)),
    case(Call::Secrets, None, OLU, None),
    case(Call::Secret, SECRET, OLU, None),
    case(Call::DataSetKey, Some(("name", "records")), OLU, None),
    case(Call::ImageKey, Some(("name", "medrec")), OLU, None),
    case(Call::Leases, None, OLU, None),
    case(Call::Revoke, None, CHEN, Some(BEA)),
    case(Call::WhoCan, None, OLU, None),
    case(Call::Explain, None, OLU, None),
    case(Call::Search, None, OLU, Some(ANA)),
    case(Call::Who, Some(("dataset", "records")), CHEN, Some(BEA)),
    case(Call::Receipt, Some(("index", "0")), OLU, Some(SAM)),
    case(Call::Verify, None, OLU, Some(CHEN)),
    case(Call::Certificate, Some(("id", ANA)), SAM, Some(ANA)),
    case(Call::Entries, Some(("place", "000.p/1")), OLU, Some(ANA)),
    case(Call::Ban, NODE, BEA, Some(OLU)),
    case(Call::Bundle, None, "", None),
    case(Call::Checkpoint, None, "", None),
    case(Call::Tile, Some(("place", "0/000.p/1")), "", None),
];

#[tokio::test]
async fn every_row_lets_in_whom_it_says_and_records_it() {
    let house = House::open().await;
    house.kit.attested("dal05-n1").await;
    let former = house.former().await;
    let mut tested = BTreeSet::new();
    for case in &CASES {
        let row = case.call.endpoint().unwrap();
        match row.authentication {
            Authentication::Public => anybody_reads(&house, case).await,
            Authentication::Known => {
                nobody_is_let_in(&house, case).await;
                refusals_are_on_record(&house, case, row, &former).await;
                the_right_one_leaves_a_leaf(&house, case, row).await;
            }
        }
        tested.insert((row.method.as_str(), row.path));
    }
    let table: BTreeSet<_> = ENDPOINTS
        .iter()
        .map(|row| (row.method.as_str(), row.path))
        .collect();
    assert_eq!(
        tested, table,
        "the table and its test must hold the same rows"
    );
}

async fn anybody_reads(house: &House, case: &Case) {
    let before = house.size().await;
    let path: Vec<(&str, &str)> = case.path.into_iter().collect();
    let question = || Question {
        path: &path,
        query: &[],
    };
    for client in [house.nobody(), house.stranger(), house.root()] {
        assert!(
            !client
                .fetch(case.call, question())
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(
        house.size().await,
        before,
        "{:?}: public material leaves no leaf",
        case.call
    );
}

/// Anonymous failures are counted, not recorded: or anybody could fill the ledger.
async fn nobody_is_let_in(house: &House, case: &Case) {
    use std::sync::atomic::Ordering;
    let counted = || house.api.counters.unauthenticated.load(Ordering::Relaxed);
    let (before, count) = (house.size().await, counted());
    for client in [house.nobody(), house.stranger()] {
        assert_eq!(
            refused(ask(house, &client, case, "").await),
            Code::Unauthenticated,
            "{:?}",
            case.call
        );
    }
    assert_eq!(
        (house.size().await, counted()),
        (before, count + 2),
        "{:?}",
        case.call
    );
}

async fn refusals_are_on_record(house: &House, case: &Case, row: &Endpoint, former: &Client) {
    let kind = row.ledger.unwrap().as_str();
    let of_another_team = match case.wrong {
        Some(id) => Some((id, house.person(id).await)),
        None => None,
    };
    let wrong = of_another_team.as_ref().map(|(id, client)| (*id, client));
    for (id, client) in wrong.into_iter().chain([("zoe@hospital.example", former)]) {
        let before = house.kit.leaves(kind).await.len();
        let error = ask(house, client, case, "").await.unwrap_err();
        let ClientError::Refused {
            code: Code::Forbidden,
            leaf: Some(leaf),
            ..
        } = error
        else {
            panic!("{:?} by {id}: {error}", case.call)
        };
        let newest = house.kit.leaves("admin-refused").await.remove(0);
        assert_eq!(
            (newest.index, disclosed(&newest, "actor")),
            (leaf, format!("person:{id}")),
            "{:?}",
            case.call
        );
        assert_eq!(
            disclosed(&newest, "endpoint"),
            format!("{} {}", row.method.as_str(), row.path)
        );
        assert_eq!(
            house.kit.leaves(kind).await.len(),
            before,
            "{:?}: refused, yet done",
            case.call
        );
    }
}

async fn the_right_one_leaves_a_leaf(house: &House, case: &Case, row: &Endpoint) {
    let kind = row.ledger.unwrap().as_str();
    let person = house.person(case.right).await;
    let mut callers = vec![(format!("person:{}", case.right), person)];
    let root = [Role::LocalRoot, Role::LabRoot];
    if row.roles.iter().any(|role| root.contains(role)) {
        callers.push(("local:root".to_owned(), house.root()));
    }
    for (actor, client) in callers {
        let (before, size) = (house.kit.leaves(kind).await.len(), house.size().await);
        let answer = ask(house, &client, case, kind)
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "{:?} by {actor}: {}",
                    case.call,
                    server::nodes::chain(&error)
                )
            });
        let leaves = house.kit.leaves(kind).await;
        assert_eq!(
            leaves.len(),
            before + 1,
            "{:?} by {actor}: one leaf of its kind",
            case.call
        );
        assert_eq!(disclosed(&leaves[0], "actor"), actor, "{:?}", case.call);
        assert!(
            leaves[0].index >= size,
            "{:?}: the leaf is of this call",
            case.call
        );
        // The client verified the receipt already; it must be the one of this very leaf.
        match answer.receipt {
            Some(receipt) => assert_eq!(receipt.index, leaves[0].index, "{:?}", case.call),
            None => assert!(
                web::client::WITHOUT_RECEIPT.contains(&case.call),
                "{:?}",
                case.call
            ),
        }
    }
}

/// Asks as the case says; what an act needs (a lease, a sealed secret) is made first.
async fn ask(
    house: &House,
    client: &Client,
    case: &Case,
    kind: &str,
) -> Result<Answer<Value>, ClientError> {
    let lease = match case.call {
        Call::Revoke if kind.is_empty() => Some(house.lease.clone()),
        Call::Revoke => Some(house.kit.lease("dal05-n1").await),
        _ => None,
    };
    let change = match case.call {
        Call::Approve | Call::Reject if !kind.is_empty() => Some(house.waiting().await),
        _ => None,
    };
    let number = match (&change, case.call) {
        (Some(change), _) => Some(change.record.number.to_string()),
        (None, Call::Approve | Call::Reject) => Some("1".to_owned()),
        (None, _) => None,
    };
    let mut path: Vec<(&str, &str)> = case.path.into_iter().collect();
    path.extend(number.as_deref().map(|number| ("number", number)));
    path.extend(lease.as_deref().map(|id| ("id", id)));
    let query = match case.call {
        Call::Search => vec![
            ("field", "kind:genesis".to_owned()),
            ("limit", "5".to_owned()),
        ],
        Call::Leases => vec![("all", "true".to_owned())],
        _ => Vec::new(),
    };
    let question = Question {
        path: &path,
        query: &query,
    };
    if case.call == Call::Entries && !kind.is_empty() {
        let bytes = client.fetch(case.call, question).await?;
        return Ok(Answer {
            data: json!(bytes.len()),
            receipt: None,
        });
    }
    let about = "lease Credential::\"postgresql/records\"";
    let body = match case.call {
        Call::Diff | Call::Apply => house.estate(),
        Call::PutSecret => house.sealed("db/pg/admin", "records").await,
        Call::WhoCan => json!({ "ask": about }),
        Call::Explain => json!({ "ask": about, "node": "dal05-n1", "image": "medrec" }),
        Call::Approve => {
            let signed = change.map(|change| house.kit.sign(BEA, change.hash));
            json!({ "signature": signed.unwrap_or_default() })
        }
        Call::Reject => json!({ "reason": "not now" }),
        Call::Promote => json!({ "envelope": house.statement().1 }),
        Call::Retire if kind.is_empty() => json!({ "config": Digest::of("none") }),
        Call::Retire => json!({ "config": house.promoted().await }),
        Call::Ban => json!({ "reason": "stolen" }),
        Call::Certificate => json!({ "spki": B64.encode(house.kit.public_key()) }),
        _ => return client.get(case.call, question).await,
    };
    client.send(case.call, question, &body).await
}

fn refused(answer: Result<Answer<Value>, ClientError>) -> Code {
    match answer.unwrap_err() {
        ClientError::Refused {
            code, leaf: None, ..
        } => code,
        error => panic!("{error}"),
    }
}

pub(crate) fn disclosed(entry: &LogEntry, name: &str) -> String {
    let found = entry
        .disclosures
        .iter()
        .map(|text| Disclosure::decode(text).unwrap())
        .find(|it| it.name == name);
    found.unwrap().value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_robot_submits_and_does_nothing_else() {
    let house = House::open().await;
    let robot = house.person(CI).await;
    for case in &CASES {
        let row = case.call.endpoint().unwrap();
        let may = row.authentication == Authentication::Public || row.roles.contains(&Role::Robot);
        let refused = match ask(&house, &robot, case, "").await {
            Err(ClientError::Refused { code, .. }) => code == Code::Forbidden,
            _ => false,
        };
        assert_eq!(refused, !may, "{:?}", case.call);
    }
    let listed: BTreeSet<_> = ENDPOINTS
        .iter()
        .filter(|row| row.roles.contains(&Role::Robot))
        .map(|row| row.path)
        .collect();
    assert_eq!(
        listed.into_iter().collect::<Vec<_>>(),
        [
            "/v1/changes",
            "/v1/changes/{number}",
            "/v1/estate/apply",
            "/v1/images/{name}/promote",
            "/v1/status"
        ]
    );
}

#[tokio::test]
async fn a_robot_withdraws_its_own_change_and_no_other() {
    let house = House::open().await;
    let robot = house.person(CI).await;
    let body = house.estate();
    let own: Answer<Value> = robot
        .send(Call::Apply, Question::default(), &body)
        .await
        .unwrap();
    let own = own.data["waiting"]["number"].to_string();
    let others = house.waiting().await.record.number.to_string();
    let reject = async |number: &str| {
        let path = [("number", number)];
        let question = Question {
            path: &path,
            query: &[],
        };
        let body = json!({ "reason": "a mistake" });
        let answer: Result<Answer<Value>, _> = robot.send(Call::Reject, question, &body).await;
        answer
    };
    assert!(reject(&others).await.is_err());
    assert_eq!(reject(&own).await.unwrap().data["state"], "rejected");
}

#[tokio::test]
async fn root_of_a_host_that_is_no_lab_sees_and_recovers_only() {
    let house = House::open_at("hospital.example").await;
    let mut lets_in = BTreeSet::new();
    for case in &CASES {
        let row = case.call.endpoint().unwrap();
        if row.authentication == Authentication::Public {
            continue;
        }
        let answer = ask(&house, &house.root(), case, "").await;
        match answer {
            Err(ClientError::Refused {
                code: Code::Forbidden,
                ..
            }) => assert!(!row.roles.contains(&Role::LocalRoot), "{:?}", case.call),
            _ => {
                lets_in.insert(format!("{:?}", case.call));
            }
        }
    }
    let expected = [
        "Apply",
        "Approve",
        "Ban",
        "Certificate",
        "Change",
        "Changes",
        "Diff",
        "Leases",
        "Node",
        "Nodes",
        "Promote",
        "Reject",
        "Retire",
        "Revoke",
        "Status",
    ];
    assert_eq!(lets_in.into_iter().collect::<Vec<_>>(), expected);
}
