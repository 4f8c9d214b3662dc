//! The ways an administrator tries (DESIGN 5.9): each waits for somebody else when it comes through the API, and a server
//! whose database was edited to say so does not start.

use estate::Estate;
use server::{StartError, govern::Submitted, world::WorldError};
use test_server::{TestServer, files};

/// Ana runs the platform: she submits, and signs what she can.
const ANA: &str = "ana@hospital.example";
const EVIL_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
const EVIL_PUB: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=
-----END PUBLIC KEY-----
";

/// One way: what is written where, and the teams that it must wait for.
struct Way {
    name: &'static str,
    /// File, what stands there (nothing: at the end, or a new file), what is to stand there.
    edits: &'static [(&'static str, &'static str, &'static str)],
    waits_for: &'static [&'static str],
}

const fn way(
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
    waits_for: &'static [&'static str],
) -> Way {
    Way {
        name,
        edits,
        waits_for,
    }
}

const OWNERS: &[&str] = &["records-owners"];
const PEOPLE: &[&str] = &["security", "audit"];
/// Ana's own team signs, too, and is not enough.
const PLACES: &[&str] = &["platform", "security"];

const WAYS: [Way; 22] = [
    way(
        "own image into the set",
        &[(
            "images.toml",
            "digests = [",
            "digests = [\"sha256:1111111111111111111111111111111111111111111111111111111111111111\", ",
        )],
        OWNERS,
    ),
    way(
        "own promoter for the set",
        &[
            (
                "images.toml",
                "",
                "[[image.medrec.promoter]]\nkey = \"keys/evil.pub\"\n",
            ),
            ("keys/evil.pub", "", EVIL_PUB),
        ],
        OWNERS,
    ),
    way(
        "looser `[run]`",
        &[("images.toml", "", "[image.medrec.run]\nenv = [\"DEBUG\"]\n")],
        OWNERS,
    ),
    way(
        "own node into the place",
        &[(
            "inventory.toml",
            "",
            "[node.evil]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nattest = \"join-token\"\n",
        )],
        PLACES,
    ),
    way(
        "a node moved into the place",
        &[(
            "inventory.toml",
            "[node.fra02-n1]\ncluster = \"euCluster\"\nlocation = \"FRA02\"",
            "[node.fra02-n1]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"",
        )],
        PLACES,
    ),
    way(
        "a place moved into another",
        &[(
            "inventory.toml",
            "FRA02 = { kind = \"datacenter\", in = \"EU\" }",
            "FRA02 = { kind = \"datacenter\", in = \"US\" }",
        )],
        PLACES,
    ),
    way(
        "a boot profile that accepts his own state",
        &[
            (
                "inventory.toml",
                "",
                "[boot.any]\naccept = [\"events/any.toml\"]\n",
            ),
            (
                "events/any.toml",
                "",
                "version = 1\n[pcr]\n0 = \"3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969\"\n",
            ),
        ],
        PLACES,
    ),
    way(
        "an identity for everybody",
        &[(
            "identities.toml",
            "",
            "version = 1\n[[identity]]\npath = \"/image/{image}\"\nttl = { x509 = \"1h\", jwt = \"5m\" }\n",
        )],
        PLACES,
    ),
    way(
        "the database is a proxy",
        &[(
            "credentials.toml",
            "pg.hospital.example:5432",
            "proxy.evil.example:5432",
        )],
        OWNERS,
    ),
    way(
        "another database with the owner's login",
        &[(
            "credentials.toml",
            "",
            "[database.evil]\nkind = \"postgresql\"\nurl = \"postgresql://proxy.evil.example:5432/records\"\nlogin = \"secret:db/pg/admin\"\n",
        )],
        OWNERS,
    ),
    way(
        "wider grants",
        &[(
            "credentials.toml",
            "grants = [",
            "grants = [\"SELECT ON ALL TABLES IN SCHEMA records\", ",
        )],
        OWNERS,
    ),
    way(
        "a credential of another data set on the owner's database",
        &[(
            "credentials.toml",
            "",
            "[credential.\"postgresql/mine\"]\ndataset = \"bills\"\ndatabase = \"pg\"\ngrants = [\"CONNECT ON DATABASE records\"]\nttl = \"1h\"\n",
        )],
        &["records-owners", "billing-owners"],
    ),
    way(
        "a longer lease",
        &[("datasets.toml", "max_lease = \"1h\"", "max_lease = \"24h\"")],
        OWNERS,
    ),
    way(
        "data that is confidential no more",
        &[(
            "datasets.toml",
            "max_lease = \"1h\"",
            "max_lease = \"1h\"\nconfidential = false",
        )],
        OWNERS,
    ),
    way(
        "hands inside are welcome",
        &[(
            "datasets.toml",
            "max_lease = \"1h\"",
            "max_lease = \"1h\"\nexec = \"expose\"",
        )],
        OWNERS,
    ),
    way(
        "another owner for the data set",
        &[(
            "datasets.toml",
            "owner = \"records-owners\"",
            "owner = \"platform\"",
        )],
        OWNERS,
    ),
    way(
        "a permit of his own",
        &[(
            "policies/records.cedar",
            "",
            "@id(\"mine\")\npermit (principal in ImageSet::\"medrec\", action == Action::\"read\", resource in DataSet::\"records\");\n",
        )],
        OWNERS,
    ),
    way(
        "a looser permit",
        &[(
            "policies/records.cedar",
            " && principal in Cluster::\"hipaaCluster\"",
            "",
        )],
        OWNERS,
    ),
    way(
        "himself into the owners' team",
        &[(
            "people.toml",
            "[\"chen@hospital.example\"]\nbilling",
            "[\"chen@hospital.example\", \"ana@hospital.example\"]\nbilling",
        )],
        PEOPLE,
    ),
    way(
        "a key of his own under the owner's name",
        &[(
            "people.toml",
            "[person.\"chen@hospital.example\"]\nkeys = [",
            "[person.\"chen@hospital.example\"]\nkeys = [\"EVIL_KEY\", ",
        )],
        PEOPLE,
    ),
    way(
        "a rule of approval that is his",
        &[(
            "people.toml",
            "dataset = { owner = 1 }",
            "dataset = { platform = 1 }",
        )],
        PEOPLE,
    ),
    way(
        "a robot that is a person",
        &[("people.toml", "robot = true\n", "")],
        PEOPLE,
    ),
];

fn edited(way: &Way) -> Vec<(String, String)> {
    let mut files = files();
    for (path, from, to) in way.edits {
        let to = to.replace("EVIL_KEY", EVIL_KEY);
        match files.iter_mut().find(|(name, _)| name == path) {
            None => files.push(((*path).to_owned(), to)),
            Some((_, text)) if from.is_empty() => text.push_str(&to),
            Some((_, text)) => {
                assert!(text.contains(from), "{}: `{from}`", way.name);
                *text = text.replace(from, &to);
            }
        }
    }
    files
}

#[tokio::test]
async fn each_way_waits_for_somebody_else() {
    let house = TestServer::start().await;
    let (version, hash) = (house.server.world().version(), house.server.world().hash());
    println!("{:58} waits for; signed by himself", "way");
    for way in &WAYS {
        let submitted = house.submit_as(ANA, edited(way), false).await;
        let submitted = submitted.unwrap_or_else(|error| panic!("{}: {error}", way.name));
        let Submitted::Waiting(pending) = submitted else {
            panic!("{}: in force at once", way.name)
        };
        let needs = &pending.plan.needs;
        for team in way.waits_for {
            let waits = needs.iter().any(|need| need.requirement.team == *team);
            assert!(waits, "{}: not for {team}, but {needs:?}", way.name);
        }
        let own = match house.approve(ANA, &pending).await {
            Ok(Submitted::Applied(_)) => panic!("{}: signed alone", way.name),
            Ok(Submitted::Waiting(still)) => {
                assert!(!still.plan.needs.is_empty(), "{}", way.name);
                "counted, waits still"
            }
            Err(_) => "counts nothing",
        };
        println!("{:58} {}; {own}", way.name, way.waits_for.join(" and "));
        let world = house.server.world();
        assert_eq!(
            (world.version(), world.hash()),
            (version, hash),
            "{}",
            way.name
        );
        let actor = ledger::Actor::LocalRoot;
        let number = pending.record.number;
        let rejected = house.server.reject_change(number, "tried", actor, None);
        rejected.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_whose_database_says_so_does_not_start() {
    let house = TestServer::start().await;
    house
        .edit("CREATE TABLE kept AS SELECT * FROM estate")
        .await;
    for way in &WAYS {
        let files = edited(way);
        let hash = Estate::parse(&files).unwrap().hash().0;
        let text = serde_json::to_string(&files).unwrap().replace('\'', "''");
        for edit in [
            format!("UPDATE estate SET files = '{text}'"),
            format!("UPDATE estate SET files = '{text}', hash = '{hash}'"),
            // The record says it, too; its signatures are of something else.
            format!(
                "UPDATE estate SET files = '{text}', hash = '{hash}',
                 record = json_replace(record, '$.result', '{hash}')"
            ),
        ] {
            house.edit(&edit).await;
            let started = house.again().await.map(drop);
            let refused = matches!(
                started,
                Err(StartError::World(WorldError::NotApproved { .. }))
            );
            assert!(refused, "{}: {started:?}", way.name);
        }
        println!("{:58} edited in the database: does not start", way.name);
        house
            .edit("DELETE FROM estate; INSERT INTO estate SELECT * FROM kept")
            .await;
    }
    house.again().await.unwrap();
}

#[tokio::test]
async fn each_way_is_open_to_those_whose_it_is() {
    let house = TestServer::start().await;
    for way in &WAYS[..4] {
        let submitted = house.submit_as(ANA, edited(way), false).await.unwrap();
        let applied = house.agree(submitted).await.unwrap();
        for need in way.waits_for {
            let world = house.server.world();
            let members = &world.estate.people().teams[*need];
            let signed = applied.approvers.iter().any(|one| members.contains(one));
            assert!(signed, "{}: {need}", way.name);
        }
        house.apply(files(), true).await.unwrap();
    }
    house.again().await.unwrap();
}
