//! The queue service. Its topic may be in use: claims read only from where the log ended when they began, and
//! hold their records with a group of their own, which lets go of them in the end.

use super::{
    HttpClaim, claim,
    target::{Part, Target, expect, expect_error, now_ms, path},
};
use crate::{
    claim::{Check, Explain, ensure, equal},
    client::{Reply, Url},
    rows::{batch_of, metric},
};
use contracts::{
    ingest::partition_of,
    queue::{LogError, Membership, Offset, Partition, Records, TOPIC, put_payload},
};
use serde_json::{Value, json};

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
];

const RECORDS: &str = "application/vnd.systems-craft.records";
const FETCHED: &str = "application/vnd.systems-craft.fetched";
const OCTETS: &str = "application/octet-stream";

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
    /// Every run uses the same name, so that runs leave no groups behind.
    fn new(target: &'t Target) -> Result<Self, String> {
        let membership = subscribe(target, "conformance", &target.fresh_name())?;
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
    expect(&heartbeat(target, &hold.membership)?, 204)?;
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
    let first = subscribe(target, "conformance", &target.fresh_name())?;
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
    expect(&heartbeat(target, &hold.membership)?, 204).map(|_| ())
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
        "/committed?group=conformance",
        "/committed?partition=0",
        "/consume?partition=99999999999&offset=0",
    ] {
        expect_error(&format!("GET {wrong}"), &target.get(url, wrong)?, 400, &["bad_parameter"])?;
    }
    for wrong in ["/produce?partition=x", "/produce?partition=0&ack=none", "/produce?partition=-1"] {
        expect_error(
            &format!("POST {wrong}"),
            &target.post(url, wrong, OCTETS, b"x")?,
            400,
            &["bad_parameter"],
        )?;
    }
    for target_path in ["/subscribe", "/heartbeat", "/commit"] {
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
    let body = json!({"group": who.group, "member": who.member, "generation": who.generation});
    target.post_json(queue(target)?, "/heartbeat", &body)
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
