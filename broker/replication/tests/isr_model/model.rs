//! What can happen, and what must hold whatever does.

use stateright::{Model, Property};
use taffrail_control::session::{IsrProposal, Member, PartitionRecord};
use taffrail_protocol::Uuid;

use crate::cluster::{Registered, decided, mended};
use crate::node::{EARLY_MS, Entry, LATE_MS, Node};

/// Records of the store that may still be on their way to a broker.
const PUBLISHED: usize = 2;

/// How far the model goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Brokers, each with a replica.
    pub brokers: usize,
    /// `min.insync.replicas`.
    pub min_isr: i32,
    /// Records that producers write.
    pub records: u8,
    /// Processes that die and keep their disk.
    pub deaths: u8,
    /// Processes that die with their disk.
    pub disks_lost: u8,
    /// Brokers that are fenced while they live.
    pub fencings: u8,
    /// ISR proposals.
    pub proposals: u8,
}

impl Bounds {
    /// Enough for each of the breaks to show.
    pub const SMALL: Self =
        Self { brokers: 2, min_isr: 1, records: 1, deaths: 1, disks_lost: 0, fencings: 1, proposals: 2 };
}

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The leader's own log is enough to commit.
    CommitAlone,
    /// Only the committed ISR holds the high watermark back.
    ForgetProposed,
    /// A broker without its disk states that it kept everything.
    KeepPlaceWithoutDisk,
    /// A follower does not say which epoch its log ends with, so nobody sees that it diverges.
    HideLastEpoch,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    nodes: Vec<Node>,
    registered: Vec<Registered>,
    /// What was stored last, youngest last: each may reach any broker at any time.
    published: Vec<PartitionRecord>,
    /// On their way, for ever: a copy may arrive again.
    proposals: Vec<(Member, IsrProposal)>,
    /// Everything that a leader ever took for committed, in order.
    committed: Vec<Entry>,
    used: [u8; 4],
    wrong: Option<&'static str>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Produce(usize),
    Fetch { leader: usize, follower: usize },
    Answer(usize),
    Publish { to: usize, which: usize },
    Propose { leader: usize, late: bool },
    Decide(usize),
    Mend,
    Fence(usize),
    Die { who: usize, with_disk: bool },
    Restart(usize),
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct IsrModel {
    pub bounds: Bounds,
    pub broken: Option<Break>,
}

impl State {
    fn stored(&self) -> &PartitionRecord {
        &self.published[self.published.len() - 1]
    }

    fn store(&mut self, record: PartitionRecord) {
        self.published.push(record);
        let late = self.published.len().saturating_sub(PUBLISHED);
        self.published.drain(..late);
    }

    fn node_of(&self, member: Member) -> Option<usize> {
        self.nodes.iter().position(|node| node.up && node.me == member)
    }

    /// Lets a leader's high watermark follow what it knows.
    fn advance(&mut self, at: usize, broken: Option<Break>) {
        let node = &mut self.nodes[at];
        let Some(leader) = &node.leader else { return };
        let own_end = node.entries().len() as i64;
        let end = match broken {
            Some(Break::CommitAlone) => Some(own_end),
            Some(Break::ForgetProposed) => {
                let committed = leader.committed_isr();
                let ends = leader
                    .followers()
                    .iter()
                    .filter(|f| committed.contains(f.member))
                    .map(|f| f.end_offset());
                let ends: Option<Vec<i64>> = ends.collect();
                ends.filter(|_| committed.has_min()).map(|ends| ends.into_iter().fold(own_end, i64::min))
            }
            _ => leader.committed_end(own_end),
        };
        let Some(end) = end.map(|end| end as usize).filter(|end| *end > node.high_watermark) else { return };
        node.high_watermark = end;
        let log = node.entries()[..end].to_vec();
        let known = self.committed.len().min(end);
        if log[..known] != self.committed[..known] {
            self.wrong = Some("two leaders committed different records at one offset");
        }
        self.committed.extend_from_slice(&log[known..]);
    }
}

impl Model for IsrModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nodes: Vec<Node> = (0..self.bounds.brokers as i32).map(Node::new).collect();
        let members: Vec<Member> = nodes.iter().map(|node| node.me).collect();
        let record = PartitionRecord {
            topic_id: Uuid::ZERO,
            partition: 0,
            creation: 1,
            replicas: (0..self.bounds.brokers as i32).collect(),
            leader: members.first().copied(),
            leader_epoch: 0,
            partition_epoch: 0,
            isr: members,
            elr: Vec::new(),
            min_isr: self.bounds.min_isr,
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: None,
        };
        let mut state = State {
            nodes,
            registered: vec![Registered::FIRST; self.bounds.brokers],
            published: vec![record.clone()],
            proposals: Vec::new(),
            committed: Vec::new(),
            used: [0; 4],
            wrong: None,
        };
        for node in &mut state.nodes {
            node.take(&record);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let [records, deaths, disks, fencings] = state.used;
        for (at, node) in state.nodes.iter().enumerate() {
            if !node.up {
                actions.push(Action::Restart(at));
                continue;
            }
            if deaths < self.bounds.deaths {
                actions.push(Action::Die { who: at, with_disk: false });
            }
            if disks < self.bounds.disks_lost {
                actions.push(Action::Die { who: at, with_disk: true });
            }
            if node.answer.is_some() {
                actions.push(Action::Answer(at));
            }
            actions.extend((0..state.published.len()).map(|which| Action::Publish { to: at, which }));
            if node.leader.is_some() {
                if records < self.bounds.records {
                    actions.push(Action::Produce(at));
                }
                if state.proposals.len() < usize::from(self.bounds.proposals) {
                    actions.extend([false, true].map(|late| Action::Propose { leader: at, late }));
                }
                let others =
                    (0..self.bounds.brokers).filter(|other| state.nodes[*other].follows(node).is_some());
                actions.extend(others.map(|follower| Action::Fetch { leader: at, follower }));
            }
            if fencings < self.bounds.fencings && !state.registered[at].fenced {
                actions.push(Action::Fence(at));
            }
        }
        actions.extend((0..state.proposals.len()).map(Action::Decide));
        actions.push(Action::Mend);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Produce(at) => {
                let node = &mut state.nodes[at];
                if !node.leader.as_ref()?.committed_isr().has_min() {
                    return None;
                }
                let entry = (node.led_epoch()?, state.used[0]);
                node.log.as_mut()?.push(entry);
                state.used[0] += 1;
                state.advance(at, self.broken);
            }
            Action::Fetch { leader, follower } => {
                let asking = state.nodes[follower].clone();
                if asking.follows(&state.nodes[leader]) != state.nodes[leader].led_epoch() {
                    return None;
                }
                let registered = state.registered[follower].incarnation;
                let answer = state.nodes[leader].serve(
                    &asking,
                    registered,
                    self.broken != Some(Break::HideLastEpoch),
                )?;
                state.advance(leader, self.broken);
                state.nodes[follower].answer = Some(answer);
            }
            Action::Answer(at) => {
                if state.nodes[at].fetched() {
                    state.wrong = Some("a follower was to truncate what it knows to be committed");
                }
            }
            Action::Publish { to, which } => {
                let record = state.published[which].clone();
                if !state.nodes[to].take(&record) {
                    return None;
                }
                state.advance(to, self.broken);
            }
            Action::Propose { leader, late } => {
                let proposal = state.nodes[leader].propose(if late { LATE_MS } else { EARLY_MS })?;
                state.proposals.push((state.nodes[leader].me, proposal));
            }
            Action::Decide(which) => {
                let (sender, proposal) = state.proposals[which].clone();
                match decided(state.stored(), &proposal, sender, &state.registered) {
                    Ok(record) => state.store(record),
                    Err(reason) => {
                        let at = state.node_of(sender)?;
                        let leader = state.nodes[at].leader.as_mut()?;
                        leader.isr_refused(EARLY_MS, proposal.partition_epoch, reason);
                    }
                }
            }
            Action::Mend => {
                let record = mended(state.stored(), &state.registered)?;
                state.store(record);
            }
            Action::Fence(at) => {
                state.registered[at].fenced = true;
                state.used[3] += 1;
            }
            Action::Die { who, with_disk } => {
                state.nodes[who].die(with_disk);
                state.registered[who].fenced = true;
                state.used[if with_disk { 2 } else { 1 }] += 1;
            }
            Action::Restart(at) => {
                let kept = state.nodes[at].log.is_some() || self.broken == Some(Break::KeepPlaceWithoutDisk);
                state.registered[at] = state.registered[at].again(kept);
                let node = &mut state.nodes[at];
                node.up = true;
                node.me.incarnation = state.registered[at].incarnation;
                if self.broken == Some(Break::KeepPlaceWithoutDisk) {
                    node.log.get_or_insert_default();
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what was committed stays committed", |_, state: &State| state.wrong.is_none()),
            Property::always("an elected leader has everything that was committed", |_, state: &State| {
                let leader = state.stored().leader.and_then(|leader| state.node_of(leader));
                // Before it has heard of it, it is none.
                let leads = |at: &usize| state.nodes[*at].led_epoch() == Some(state.stored().leader_epoch);
                leader.filter(leads).is_none_or(|at| state.nodes[at].entries().starts_with(&state.committed))
            }),
            Property::always("an epoch has one leader", |_, state: &State| {
                let mut epochs: Vec<i32> = state.nodes.iter().filter_map(Node::led_epoch).collect();
                epochs.sort_unstable();
                epochs.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("logs are equal below the high watermark", |_, state: &State| {
                state.nodes.iter().all(|node| {
                    let known = node.high_watermark.min(state.committed.len());
                    node.entries().starts_with(&state.committed[..known])
                })
            }),
        ]
    }
}
