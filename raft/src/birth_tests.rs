//! All interleavings of three first members that start, ask, note, crash and lose folders at any moment.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Birth, Members, Next, Numbers, Told};

const PEERS: [u64; 3] = [0, 1, 2];

/// One peer: what is on its disk, and what its process knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Peer {
    /// How often the folder was emptied. The number that it draws says so too, here.
    incarnation: u64,
    noted: Option<[u64; 3]>,
    /// The log holds data, so that a restart asks nobody.
    has_data: bool,
    process: Process,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Process {
    #[default]
    Down,
    /// Asks; keeps the answers that came, however old they are.
    Asking([Option<Answer>; 3]),
    TakesPart,
    Refused,
}

type Answer = (u64, Option<[u64; 3]>, bool);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    peers: [Peer; 3],
    /// Folders that may still be emptied.
    losses: u64,
    /// Whether peers also crash and keep their folders.
    crashes: bool,
    /// The incarnations of each peer that have taken part, and the numbers with which they did.
    took_part: BTreeSet<(u64, u64)>,
    births: BTreeSet<[u64; 3]>,
}

fn members() -> Members {
    PEERS.map(|peer| (peer, String::new())).into()
}

fn number(peer: u64, incarnation: u64) -> u64 {
    10 * peer + incarnation
}

fn numbers(noted: Option<[u64; 3]>) -> Numbers {
    let known = noted.map(|noted| PEERS.into_iter().zip(noted));
    known.into_iter().flatten().collect()
}

impl Peer {
    fn birth(&self, id: u64) -> Birth {
        Birth {
            number: number(id, self.incarnation),
            first: numbers(self.noted),
        }
    }

    fn answer(&self, id: u64) -> Option<Answer> {
        let takes_part = match self.process {
            Process::Down | Process::Refused => return None,
            Process::Asking(_) => false,
            Process::TakesPart => true,
        };
        Some((number(id, self.incarnation), self.noted, takes_part))
    }
}

impl World {
    fn new(losses: u64, crashes: bool) -> Self {
        Self {
            peers: Default::default(),
            losses,
            crashes,
            took_part: BTreeSet::new(),
            births: BTreeSet::new(),
        }
    }

    fn start(&mut self, id: u64) {
        let peer = &mut self.peers[id as usize];
        peer.process = match peer.has_data {
            true => Process::TakesPart,
            false => Process::Asking(Default::default()),
        };
    }

    /// Carries out what the rule says for the answers of `id` so far, then forgets them.
    fn decide(&mut self, id: u64) {
        let peer = &mut self.peers[id as usize];
        let Process::Asking(answers) = &peer.process else {
            return;
        };
        let others = PEERS.into_iter().filter(|other| *other != id);
        let told: BTreeMap<_, _> = others
            .map(|other| {
                let told = answers[other as usize].map(|(number, noted, takes_part)| Told {
                    birth: Birth {
                        number,
                        first: numbers(noted),
                    },
                    takes_part,
                    members: members(),
                });
                (other, told)
            })
            .collect();
        let next = peer.birth(id).next(id, &members(), &told);
        peer.process = Process::Asking(Default::default());
        match next {
            Next::Note(first) => {
                let first: Vec<_> = first.into_values().collect();
                peer.noted = Some(first.try_into().unwrap());
            }
            Next::TakePart => {
                peer.process = Process::TakesPart;
                self.took_part.insert((id, peer.incarnation));
                self.births
                    .insert(peer.noted.expect("who takes part has noted"));
            }
            Next::Wait(_) => {}
            Next::Stranger { .. } => peer.process = Process::Refused,
        }
    }

    /// Every world that one event leads to.
    fn nexts(&self) -> Vec<World> {
        let mut nexts = vec![];
        let mut push = |change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            if next != *self {
                nexts.push(next);
            }
        };
        for id in PEERS {
            let index = id as usize;
            if self.losses > 0 {
                push(&|world| {
                    world.losses -= 1;
                    let incarnation = world.peers[index].incarnation + 1;
                    world.peers[index] = Peer {
                        incarnation,
                        ..Peer::default()
                    };
                });
            }
            if self.crashes {
                push(&|world| world.peers[index].process = Process::Down);
            }
            match &self.peers[index].process {
                Process::Down | Process::Refused => push(&|world| world.start(id)),
                Process::Asking(_) => {
                    for other in PEERS.into_iter().filter(|other| *other != id) {
                        let answer = self.peers[other as usize].answer(other);
                        push(&|world| {
                            if let Process::Asking(answers) = &mut world.peers[index].process {
                                answers[other as usize] = answer.or(answers[other as usize]);
                            }
                        });
                    }
                    push(&|world| world.decide(id));
                }
                Process::TakesPart => push(&|world| world.peers[index].has_data = true),
            }
        }
        nexts
    }

    /// Whether two folders of one peer have taken part, or two groups were born.
    fn is_broken(&self) -> bool {
        let peers: BTreeSet<_> = self.took_part.iter().map(|(id, _)| id).collect();
        peers.len() < self.took_part.len() || self.births.len() > 1
    }

    /// What becomes of it when all are up, answer each other and crash no more.
    fn settled(&self) -> World {
        let mut world = self.clone();
        for id in PEERS {
            if world.peers[id as usize].process == Process::Down {
                world.start(id);
            }
        }
        // Note, then take part, then hear of it; a loss makes it one longer.
        for _ in 0..5 {
            for id in PEERS {
                let told = PEERS.map(|other| world.peers[other as usize].answer(other));
                if let Process::Asking(answers) = &mut world.peers[id as usize].process {
                    *answers = told;
                }
            }
            for id in PEERS {
                world.decide(id);
            }
        }
        world
    }

    /// Nobody waits for ever who has kept its folder, unless one was emptied before the group had any data.
    fn is_stuck(&self) -> bool {
        let settled = self.settled();
        let takes_part = |id: u64| settled.peers[id as usize].process == Process::TakesPart;
        let intact: Vec<_> = PEERS
            .into_iter()
            .filter(|id| self.peers[*id as usize].incarnation == 0)
            .collect();
        let has_data = |id: &u64| self.peers[*id as usize].has_data;
        let is_due = intact.len() == PEERS.len() || intact.iter().any(has_data);
        is_due && !intact.into_iter().all(takes_part)
    }
}

/// Goes through every reachable world; true if in one of them all take part.
fn explore(losses: u64, crashes: bool) -> bool {
    let mut seen = HashSet::from([World::new(losses, crashes)]);
    let mut todo: Vec<_> = seen.iter().cloned().collect();
    let mut is_born = false;
    while let Some(world) = todo.pop() {
        let takes_part = |peer: &Peer| peer.process == Process::TakesPart;
        is_born |= world.peers.iter().all(takes_part);
        assert!(!world.is_broken(), "{world:#?}");
        assert!(
            !world.is_stuck(),
            "{world:#?} settles as {:#?}",
            world.settled()
        );
        for next in world.nexts() {
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    is_born
}

#[test]
fn a_group_is_born_once_whatever_crashes() {
    assert!(explore(0, true));
}

#[test]
fn an_emptied_folder_never_takes_part_a_second_time() {
    assert!(explore(1, true));
}

#[test]
fn two_emptied_folders_of_three_are_recognised_by_the_third() {
    assert!(explore(2, false));
}

#[test]
fn who_has_noted_others_does_not_begin_without_them() {
    let noted = Birth {
        number: number(0, 0),
        first: numbers(Some(PEERS.map(|peer| number(peer, 0)))),
    };
    let alone = Members::from([(0, String::new())]);
    let waits = Next::Wait(super::Waiting::Disagree(vec![0]));
    assert_eq!(noted.next(0, &alone, &BTreeMap::new()), waits);
}
