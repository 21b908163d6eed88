//! The queue service. Its topic may be in use: claims read only from where the log ended when they began, and
//! hold their records with a group of their own, which lets go of them in the end.

use super::{
    HttpClaim, claim,
    target::{Part, Target, expect, expect_error, now_ms, path},
};
use crate::{
    claim::{Check, Explain, PATIENCE, ensure, equal, eventually},
    client::{Reply, Url},
    rows::{batch_of, metric},
};
use contracts::{
    ingest::partition_of,
    limits::IDENTIFIED_BATCHES_KEPT,
    queue::{LogError, Membership, Offset, Partition, Records, TOPIC, put_payload},
};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

const NEEDS: &[Part] = &[Part::Queue];

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("topics tells the partitions, their bounds and the strongest ack", NEEDS, topics),
    claim("a produced record is consumed as it was sent", NEEDS, produce_one),
    claim("several records in one body lie one behind the other", NEEDS, produce_several),
    claim("a client_id goes to its partition", NEEDS, client_ids),
    claim("every ack up to ack_max is given, and a stronger one is 422", NEEDS, acks),
    claim("consume keeps to count and bytes", NEEDS, consume_limits),
    claim("consume at the end gives nothing, beyond it 416 with the bounds", NEEDS, consume_ends),
    claim("a partition that does not exist is 404 everywhere", NEEDS, no_partition),
    claim("a group is joined, commits, and is told how far it came", NEEDS, groups),
    claim("a member that was replaced is 409", NEEDS, fenced),
    claim("a commit beyond the end is 416 with the bounds", NEEDS, commit_beyond),
    claim("bad names, parameters and bodies are 400 and say what is wrong", NEEDS, bad_requests),
    claim("records that are cut short are refused, and none of them is taken", NEEDS, cut_records),
    claim("a consume that waits gives the record that comes", NEEDS, consume_waits),
    claim("a batch that is sent again lies where it lay, or is 501", NEEDS, sent_again),
    claim(
        "a batch behind one that is missing is 409 and says which is next, or is 501",
        NEEDS,
        sent_too_early,
    ),
    claim("groups tells members, what they hold, and how far they came", NEEDS, groups_told),
    claim("a heartbeat tells the generation, and a member can move on to it", NEEDS, moves_on),
    claim("who leaves is a member no more, where there can be several", NEEDS, leaves),
    claim("how partitions are dealt out can be said, and is told", NEEDS, assigns),
];

const RECORDS: &str = "application/vnd.systems-craft.records";
const FETCHED: &str = "application/vnd.systems-craft.fetched";
const OCTETS: &str = "application/octet-stream";
/// The suite's own group, and its member.
const GROUP: &str = "conformance";
const MEMBER: &str = "conformance-member";

fn queue(target: &Target) -> Result<&Url, String> {
    target.url(Part::Queue).ok_or("no queue service".to_owned())
}

/// A group of the suite's own on partition 0. While it is held, nothing from `start` on is dropped.
struct Hold<'t> {
    target: &'t Target,
    start: u64,
    membership: Membership,
}

impl<'t> Hold<'t> {
    /// Every run uses the same names, so that runs leave no groups behind, and no member that shares the partitions.
    fn new(target: &'t Target) -> Result<Self, String> {
        let membership = subscribe(target, GROUP, MEMBER)?;
        let start = end_of(target)?;
        let hold = Self { target, start, membership };
        expect(&hold.commit(start)?, 204)?;
        Ok(hold)
    }

    fn commit(&self, offset: u64) -> Result<Reply, String> {
        commit(self.target, &self.membership, 0, offset)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // What failed before matters more than that the records stay a little longer.
        let _ = end_of(self.target).and_then(|end| self.commit(end));
        let _ = post_as(self.target, "/leave", &self.membership);
    }
}

fn topics(target: &Target) -> Check {
    let topic = topic(target)?;
    let ack = topic["ack_max"].as_str();
    ensure(ack.is_some_and(|a| ["memory", "os", "disk"].contains(&a)), || format!("ack_max: got {topic}"))?;
    let partitions = topic["partitions"].as_array().filter(|p| !p.is_empty());
    for (i, partition) in partitions.ok_or(format!("partitions: got {topic}"))?.iter().enumerate() {
        let bounds = partition["start"].as_u64().zip(partition["end"].as_u64());
        let good = partition["partition"] == i && bounds.is_some_and(|(start, end)| start <= end);
        ensure(good, || format!("partition {i}: expected its number, start and end, got {partition}"))?;
    }
    Ok(())
}

fn produce_one(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let payload = payload(target)?;
    let reply = target.post(queue(target)?, "/produce?partition=0", OCTETS, &payload)?;
    let (partition, offset) = only_place(expect(&reply, 200)?)?;
    ensure(partition == 0 && offset >= hold.start, || {
        format!("expected partition 0 from {}, got {partition}, {offset}", hold.start)
    })?;
    let found = consume(target, offset, "&count=1")?;
    equal("what lies there", &found, &vec![(offset, payload)])
}

fn produce_several(target: &Target) -> Check {
    let _hold = Hold::new(target)?;
    let payloads = (0..20).map(|_| payload(target)).collect::<Result<Vec<_>, _>>()?;
    let reply =
        target.post(queue(target)?, "/produce?partition=0&ack=memory", RECORDS, &framed(&payloads))?;
    let mine_at = places(expect(&reply, 200)?)?;
    equal("number of places", &mine_at.len(), &20)?;
    ensure(mine_at.is_sorted_by(|a, b| a.1 < b.1), || {
        format!("offsets: expected them to rise, got {mine_at:?}")
    })?;
    let found = consume(target, mine_at[0].1, "&count=10000")?;
    // In use, others may have put theirs between.
    let mine: Vec<_> =
        found.into_iter().filter(|(offset, _)| mine_at.iter().any(|p| p.1 == *offset)).collect();
    let expected: Vec<_> = mine_at.iter().map(|p| p.1).zip(payloads).collect();
    equal("what lies at those places", &mine, &expected)?;
    let reply = target.post(queue(target)?, "/produce?partition=0", RECORDS, b"")?;
    equal("places of no records", &places(expect(&reply, 200)?)?, &Vec::new())
}

fn client_ids(target: &Target) -> Check {
    let _hold = Hold::new(target)?;
    let count = topic(target)?["partitions"].as_array().map_or(0, Vec::len);
    let count = u32::try_from(count).explain("the number of partitions")?;
    for client in ["a", "agent-1", "ünï/ +&=", "127.0.0.1"] {
        let reply = target.post(
            queue(target)?,
            &path("/produce", &[("client_id", client)]),
            OCTETS,
            &payload(target)?,
        )?;
        let (partition, _) = only_place(expect(&reply, 200)?)?;
        equal(&format!("partition of client {client:?}"), &partition, &partition_of(client, count).0)?;
    }
    Ok(())
}

fn acks(target: &Target) -> Check {
    let _hold = Hold::new(target)?;
    let best = topic(target)?["ack_max"].as_str().unwrap_or_default().to_owned();
    let levels = ["memory", "os", "disk"];
    let best_at = levels.iter().position(|l| *l == best).ok_or(format!("ack_max is {best:?}"))?;
    for (at, level) in levels.iter().enumerate() {
        let target_path = format!("/produce?partition=0&ack={level}");
        let reply = target.post(queue(target)?, &target_path, OCTETS, &payload(target)?)?;
        if at <= best_at {
            expect(&reply, 200).map_err(|why| format!("ack={level}, when ack_max is {best}: {why}"))?;
        } else {
            let error = expect_error(&target_path, &reply, 422, &["ack_too_strong"])?;
            equal(
                "its detail",
                &error["detail"],
                &json!({"ack_too_strong": {"asked": level, "best": best}}),
            )?;
        }
    }
    Ok(())
}

fn consume_limits(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let payloads = (0..10).map(|_| payload(target)).collect::<Result<Vec<_>, _>>()?;
    expect(&target.post(queue(target)?, "/produce?partition=0", RECORDS, &framed(&payloads))?, 200)?;
    for count in [1, 3, 10] {
        let found = consume(target, hold.start, &format!("&count={count}"))?;
        equal(&format!("records of count={count}"), &found.len(), &count)?;
    }
    for bytes in ["0", "1"] {
        let found = consume(target, hold.start, &format!("&bytes={bytes}"))?;
        equal(&format!("records of bytes={bytes}: the first always comes"), &found.len(), &1)?;
    }
    let offsets: Vec<_> = consume(target, hold.start, "")?.iter().map(|(offset, _)| *offset).collect();
    let expected: Vec<_> = (hold.start..).take(offsets.len()).collect();
    equal("offsets without limits", &offsets, &expected)
}

fn consume_ends(target: &Target) -> Check {
    let _hold = Hold::new(target)?;
    // Others may append meanwhile: at the end there is nothing, or what came after.
    consume(target, end_of(target)?, "")?;
    for asked in [end_of(target)? + 1_000_000, u64::MAX] {
        let reply = target.get(queue(target)?, &format!("/consume?partition=0&offset={asked}"))?;
        is_out_of_range("consume beyond the end", &reply, asked, target)?;
    }
    Ok(())
}

fn no_partition(target: &Target) -> Check {
    let url = queue(target)?;
    let hold = Hold::new(target)?;
    for asked in ["9999", "4294967295"] {
        let number: u32 = asked.parse().explain("a partition")?;
        let replies = [
            ("produce", target.post(url, &format!("/produce?partition={asked}"), OCTETS, b"x")?),
            ("consume", target.get(url, &format!("/consume?partition={asked}&offset=0"))?),
            ("committed", target.get(url, &format!("/committed?group=conformance&partition={asked}"))?),
            ("commit", commit(target, &hold.membership, number, 0)?),
        ];
        for (what, reply) in replies {
            let error =
                expect_error(&format!("{what} of partition {asked}"), &reply, 404, &["no_such_partition"])?;
            equal("its detail", &error["detail"]["no_such_partition"]["asked"], &json!(number))?;
        }
    }
    Ok(())
}

fn groups(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let given = &hold.membership.partitions;
    ensure(given.contains(&Partition(0)), || format!("partitions of a lone member: got {given:?}"))?;
    expect(&heartbeat(target, &hold.membership)?, 200)?;
    let payloads = (0..3).map(|_| payload(target)).collect::<Result<Vec<_>, _>>()?;
    expect(&target.post(queue(target)?, "/produce?partition=0", RECORDS, &framed(&payloads))?, 200)?;
    for offset in [hold.start + 3, hold.start + 1, hold.start] {
        expect(&hold.commit(offset)?, 204)?;
        equal("committed", &committed(target, "conformance")?, &json!({"offset": offset}))?;
    }
    equal(
        "committed of a group that never was",
        &committed(target, &target.fresh_name())?,
        &json!({"offset": null}),
    )
}

fn fenced(target: &Target) -> Check {
    let first = subscribe(target, GROUP, MEMBER)?;
    let hold = Hold::new(target)?;
    ensure(hold.membership.generation > first.generation, || {
        format!("generation: expected more than {}, got {}", first.generation, hold.membership.generation)
    })?;
    let replies =
        [("heartbeat", heartbeat(target, &first)?), ("commit", commit(target, &first, 0, hold.start)?)];
    for (what, reply) in replies {
        let error = expect_error(&format!("{what} of a member that was replaced"), &reply, 409, &["fenced"])?;
        let detail = &error["detail"]["fenced"];
        equal("the group", &detail["group"], &json!("conformance"))?;
        equal("the generation that is over", &detail["asked"], &json!(first.generation))?;
        equal("the current one", &detail["current"], &json!(hold.membership.generation))?;
    }
    expect(&heartbeat(target, &hold.membership)?, 200).map(|_| ())
}

fn commit_beyond(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let asked = end_of(target)? + 1_000_000;
    is_out_of_range("a commit beyond the end", &hold.commit(asked)?, asked, target)?;
    equal("committed", &committed(target, "conformance")?, &json!({"offset": hold.start}))
}

fn bad_requests(target: &Target) -> Check {
    let url = queue(target)?;
    for bad in ["", "é", "a\nb", &"n".repeat(129)] {
        for body in [json!({"group": bad, "member": "m"}), json!({"group": "conformance", "member": bad})] {
            expect_error(
                &format!("subscribe of {body:.80}"),
                &target.post_json(url, "/subscribe", &body)?,
                400,
                &["bad_name"],
            )?;
        }
    }
    for wrong in [
        "/consume",
        "/consume?partition=0",
        "/consume?partition=x&offset=0",
        "/consume?partition=0&offset=-1",
        "/consume?partition=0&offset=0&count=x",
        "/consume?partition=0&offset=0&bytes=-1",
        "/consume?partition=0&offset=0&wait=x",
        "/committed?group=conformance",
        "/committed?partition=0",
        "/consume?partition=99999999999&offset=0",
    ] {
        expect_error(&format!("GET {wrong}"), &target.get(url, wrong)?, 400, &["bad_parameter"])?;
    }
    let long = format!("/produce?client_id={}", "c".repeat(129));
    for wrong in [
        "/produce?partition=x",
        "/produce?partition=0&ack=none",
        "/produce?partition=-1",
        "/produce?partition=0&client_id=a",
        "/produce?client_id=a%ffb",
        &long,
        "/produce?partition=0&producer=1",
        "/produce?partition=0&sequence=1",
        "/produce?partition=0&producer=0&sequence=1",
        "/produce?partition=0&producer=1&sequence=4294967296",
    ] {
        expect_error(
            &format!("POST {wrong}"),
            &target.post(url, wrong, OCTETS, b"x")?,
            400,
            &["bad_parameter"],
        )?;
    }
    for target_path in ["/subscribe", "/assign", "/heartbeat", "/leave", "/commit"] {
        for body in ["", "{", "[]", "{}", r#"{"group":1,"member":"m"}"#, "\u{0}"] {
            let reply = target.post(url, target_path, "application/json", body.as_bytes())?;
            expect_error(
                &format!("POST {target_path} of {body:?}"),
                &reply,
                400,
                &["bad_json", "empty_body"],
            )?;
        }
    }
    Ok(())
}

fn cut_records(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let marker = payload(target)?;
    let whole = framed(&[marker.clone(), payload(target)?]);
    for cut in [1, 3, 4 + marker.len() + 1, whole.len() - 1] {
        let reply = target.post(queue(target)?, "/produce?partition=0", RECORDS, &whole[..cut])?;
        expect_error(&format!("records cut at byte {cut}"), &reply, 400, &["bad_records"])?;
    }
    let taken =
        consume(target, hold.start, "&count=10000")?.into_iter().filter(|(_, p)| *p == marker).count();
    equal("records taken of bodies that were refused", &taken, &0)
}

fn consume_waits(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let payload = payload(target)?;
    let comes = {
        let (url, payload) = (queue(target)?.clone(), payload.clone());
        move || {
            // So that the consume most likely waits already. If not, the claim holds all the same.
            thread::sleep(Duration::from_millis(100));
            target.post(&url, "/produce?partition=0", OCTETS, &payload)
        }
    };
    thread::scope(|scope| {
        let producer = scope.spawn(comes);
        // Who does not wait, or is in use, gives something else first.
        let mut next = hold.start;
        eventually("a consume that waits gives the record that comes", || {
            let found = consume(target, next, "&wait=5000")?;
            next += found.len() as u64;
            Ok(found.iter().any(|(_, found)| *found == payload).then_some(()))
        })?;
        expect(&producer.join().map_err(|_| "the producer panicked".to_owned())??, 200)?;
        let began = Instant::now();
        consume(target, end_of(target)?, "&wait=200")?;
        ensure(began.elapsed() < PATIENCE, || {
            format!("a consume with wait=200 at the end was answered after {:?}", began.elapsed())
        })
    })
}

/// A number for a producer that no other run has drawn.
fn drawn() -> u64 {
    fastrand::u64(1..)
}

fn produce_as(target: &Target, producer: u64, sequence: u32, payloads: &[Vec<u8>]) -> Result<Reply, String> {
    let path = format!("/produce?partition=0&producer={producer}&sequence={sequence}");
    target.post(queue(target)?, &path, RECORDS, &framed(payloads))
}

/// Whether the queue knows batches again. If it does not it must say so to who sends one.
fn knows_batches(target: &Target) -> Result<bool, String> {
    let knows = topic(target)?["knows_batches"] == true;
    if !knows {
        let reply = produce_as(target, drawn(), 0, &[payload(target)?])?;
        expect_error("a batch with a number, where none is known again", &reply, 501, &["not_offered"])?;
    }
    Ok(knows)
}

fn sent_again(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    if !knows_batches(target)? {
        return Ok(());
    }
    let (one, other) = (drawn(), drawn());
    let mut sent = Vec::new();
    for sequence in 0..u32::try_from(IDENTIFIED_BATCHES_KEPT).unwrap_or(u32::MAX) {
        for producer in [one, other] {
            let batch = [payload(target)?, payload(target)?];
            let reply = produce_as(target, producer, sequence, &batch)?;
            sent.push((producer, sequence, batch, places(expect(&reply, 200)?)?));
        }
    }
    for (producer, sequence, batch, place) in &sent {
        let reply = produce_as(target, *producer, *sequence, batch)?;
        let what = format!("where batch {sequence} lies, sent again");
        equal(&what, &places(expect(&reply, 200)?)?, place)?;
    }
    let found = consume(target, hold.start, "&count=10000")?;
    for (_, sequence, batch, places) in &sent {
        let mine: Vec<_> = found.iter().filter(|(_, payload)| batch.contains(payload)).cloned().collect();
        let first = places.first().map_or(0, |place| place.1);
        let expected: Vec<_> = (first..).zip(batch.iter().cloned()).collect();
        equal(&format!("the records of batch {sequence}, sent twice"), &mine, &expected)?;
    }
    Ok(())
}

fn sent_too_early(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    if !knows_batches(target)? {
        return Ok(());
    }
    let producer = drawn();
    expect(&produce_as(target, producer, 7, &[payload(target)?])?, 200)?;
    let early = payload(target)?;
    let reply = produce_as(target, producer, 9, std::slice::from_ref(&early))?;
    let error = expect_error("batch 9 behind batch 7", &reply, 409, &["out_of_sequence"])?;
    let expected =
        json!({"out_of_sequence": {"producer": producer, "partition": 0, "expected": 8, "asked": 9}});
    equal("its detail", &error["detail"], &expected)?;
    expect(&produce_as(target, producer, 8, &[payload(target)?])?, 200)?;
    expect(&produce_as(target, producer, 9, std::slice::from_ref(&early))?, 200)?;
    let found = consume(target, hold.start, "&count=10000")?;
    equal("how often the batch that came too early is there", &count_of(&found, &early), &1)
}

fn count_of(found: &[(u64, Vec<u8>)], wanted: &[u8]) -> usize {
    found.iter().filter(|(_, payload)| payload == wanted).count()
}

/// What `/groups` says of the suite's own group.
fn group_told(target: &Target) -> Result<Value, String> {
    let all = expect(&target.get(queue(target)?, "/groups")?, 200)?.json()?;
    let groups = all["groups"].as_array().into_iter().flatten();
    groups.into_iter().find(|g| g["group"] == GROUP).cloned().ok_or(format!("no group {GROUP} in {all}"))
}

fn groups_told(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let payloads = (0..3).map(|_| payload(target)).collect::<Result<Vec<_>, _>>()?;
    expect(&target.post(queue(target)?, "/produce?partition=0", RECORDS, &framed(&payloads))?, 200)?;
    expect(&hold.commit(hold.start + 1)?, 204)?;
    let group = group_told(target)?;
    equal("its generation", &group["generation"], &json!(hold.membership.generation))?;
    let member = &group["members"][0];
    let expected = json!([MEMBER, hold.membership.generation, hold.membership.partitions]);
    let got = json!([member["member"], member["generation"], member["partitions"]]);
    equal("its member, the generation that it joined, and what it holds", &got, &expected)?;
    let partition = &group["partitions"][0];
    equal("how far it came", &partition["committed"], &json!(hold.start + 1))?;
    let (end, lag) = (partition["end"].as_u64(), partition["lag"].as_u64());
    let right = end.is_some_and(|end| end >= hold.start + 3 && lag == Some(end - hold.start - 1));
    ensure(right, || format!("its lag: expected the end less {}, got {partition}", hold.start + 1))
}

fn moves_on(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    let alive = expect(&heartbeat(target, &hold.membership)?, 200)?.json()?;
    equal("the generation", &alive, &json!({"generation": hold.membership.generation}))?;
    let Membership { generation, partitions, .. } = &hold.membership;
    let asked = json!({"group": GROUP, "member": MEMBER, "generation": generation});
    let reply = target.post_json(queue(target)?, "/subscribe", &asked)?;
    let moved: Membership =
        serde_json::from_value(expect(&reply, 200)?.json()?).explain("reading a membership")?;
    equal("its place after moving on to its own generation", &moved.generation, generation)?;
    equal("what it holds then", &moved.partitions, partitions)?;
    let asked = json!({"group": GROUP, "member": MEMBER, "generation": generation - 1});
    let reply = target.post_json(queue(target)?, "/subscribe", &asked)?;
    expect_error("moving on from a generation before one's own", &reply, 409, &["fenced"]).map(|_| ())
}

fn leaves(target: &Target) -> Check {
    let hold = Hold::new(target)?;
    expect(&post_as(target, "/leave", &hold.membership)?, 204)?;
    if topic(target)?["group_members_max"] == 1 {
        return Ok(()); // nobody is there whom it could leave anything to
    }
    expect_error("a heartbeat of who has left", &heartbeat(target, &hold.membership)?, 409, &["fenced"])?;
    expect_error("a commit of who has left", &hold.commit(hold.start)?, 409, &["fenced"])?;
    equal("its members", &group_told(target)?["members"], &json!([]))
}

fn assigns(target: &Target) -> Check {
    for assignment in ["range", "sticky"] {
        let asked = json!({"group": GROUP, "assignment": assignment});
        expect(&target.post_json(queue(target)?, "/assign", &asked)?, 204)?;
        let _hold = Hold::new(target)?;
        if topic(target)?["group_members_max"] != 1 {
            equal("how they are dealt out", &group_told(target)?["assignment"], &json!(assignment))?;
        }
    }
    let asked = json!({"group": GROUP, "assignment": "random"});
    let reply = target.post_json(queue(target)?, "/assign", &asked)?;
    expect_error("an assignment that is none", &reply, 400, &["bad_json"]).map(|_| ())
}

// ── How the claims talk to the queue ─────────────────────────────────────────────────────────────────────────

/// A record that a pipeline behind the queue can read: a batch of one sample. Each is different.
fn payload(target: &Target) -> Result<Vec<u8>, String> {
    let row = (metric("conformance_queue", &[]), now_ms(), f64::from(target.fresh_number()));
    Ok(batch_of(&[row])?.encode())
}

fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    payloads.iter().for_each(|payload| put_payload(payload, &mut body));
    body
}

fn topic(target: &Target) -> Result<Value, String> {
    let listed = expect(&target.get(queue(target)?, "/topics")?, 200)?.json()?;
    let topics = listed["topics"].as_array().into_iter().flatten();
    topics.into_iter().find(|t| t["name"] == TOPIC).cloned().ok_or(format!("no topic {TOPIC} in {listed}"))
}

fn end_of(target: &Target) -> Result<u64, String> {
    topic(target)?["partitions"][0]["end"].as_u64().ok_or("partition 0 has no end".to_owned())
}

fn consume(target: &Target, offset: u64, limits: &str) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let reply = target.get(queue(target)?, &format!("/consume?partition=0&offset={offset}{limits}"))?;
    let kind = expect(&reply, 200)?.header("content-type").unwrap_or_default().to_owned();
    equal("Content-Type of fetched records", &*kind, FETCHED)?;
    let mut records = Records::new();
    records.decode(&reply.body).map_err(|at| format!("the fetched records are broken at byte {at}"))?;
    Ok(records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect())
}

/// Where records lie: a partition and an offset for each.
fn places(reply: &Reply) -> Result<Vec<(u32, u64)>, String> {
    let body = reply.json()?;
    let all = places_in(&body);
    all.ok_or(format!("expected partition, offset and count, and as many offsets if any, got {body}"))
}

/// Neighbours from `offset` on, unless they are listed.
fn places_in(body: &Value) -> Option<Vec<(u32, u64)>> {
    let partition = u32::try_from(body["partition"].as_u64()?).ok()?;
    let (offset, count) = (body["offset"].as_u64()?, body["count"].as_u64()?);
    let offsets: Vec<u64> = match body.get("offsets") {
        None => (offset..offset + count).collect(),
        Some(listed) => listed.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?,
    };
    (offsets.len() as u64 == count).then(|| offsets.into_iter().map(|offset| (partition, offset)).collect())
}

fn only_place(reply: &Reply) -> Result<(u32, u64), String> {
    let all = places(reply)?;
    if let [place] = all[..] { Ok(place) } else { Err(format!("expected one place, got {all:?}")) }
}

fn subscribe(target: &Target, group: &str, member: &str) -> Result<Membership, String> {
    let reply = target.post_json(queue(target)?, "/subscribe", &json!({"group": group, "member": member}))?;
    let membership: Membership =
        serde_json::from_value(expect(&reply, 200)?.json()?).explain("reading a membership")?;
    equal("the member that joined", &(&*membership.group, &*membership.member), &(group, member))?;
    Ok(membership)
}

fn heartbeat(target: &Target, who: &Membership) -> Result<Reply, String> {
    post_as(target, "/heartbeat", who)
}

/// A body that only says who one is.
fn post_as(target: &Target, path: &str, who: &Membership) -> Result<Reply, String> {
    let body = json!({"group": who.group, "member": who.member, "generation": who.generation});
    target.post_json(queue(target)?, path, &body)
}

fn commit(target: &Target, who: &Membership, partition: u32, offset: u64) -> Result<Reply, String> {
    let body = json!({
        "group": who.group, "member": who.member, "generation": who.generation,
        "partition": partition, "offset": offset,
    });
    target.post_json(queue(target)?, "/commit", &body)
}

fn committed(target: &Target, group: &str) -> Result<Value, String> {
    let reply = target.get(queue(target)?, &path("/committed", &[("group", group), ("partition", "0")]))?;
    expect(&reply, 200)?.json()
}

/// 416 with bounds that lie around the true ones, which may move while the topic is in use.
fn is_out_of_range(what: &str, reply: &Reply, asked: u64, target: &Target) -> Check {
    let error = expect_error(what, reply, 416, &["offset_out_of_range"])?;
    let detail: LogError = serde_json::from_value(error["detail"].clone()).explain("reading the detail")?;
    let end = end_of(target)?;
    let holds = matches!(detail, LogError::OffsetOutOfRange { asked: a, bounds }
        if a == Offset(asked) && bounds.start <= bounds.end && bounds.end.0 <= end);
    ensure(holds, || format!("{what}: expected the true bounds, which end at {end}, got {detail:?}"))
}
