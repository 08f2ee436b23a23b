//! Who may call what: one table, in front of every route. What is not in it may be called by nobody.
//!
//! Over TLS a caller is whom its certificate speaks for, or nobody; people and programs may show a bearer token
//! instead, and then the token decides. In plain HTTP, which is for development and heard on loopback alone, nobody
//! is asked.

mod rules;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::model::{
    AccessRole, Action, ClusterName, Forbidden, PeerId, Scope, SecretHash, Subject, TokenRecord,
    permits,
};
use crate::security::bearer::{BearerToken, Denied, authorize};
use crate::security::{Caller, Who};
use crate::server::Peer;

use super::forward;
use super::problem::Problem;
use rules::rule;

pub use rules::{RULES, Rule};

use AccessRole::Viewer;
use Rule::{Agents, Cluster, FormerPeers, Holders, Installation, Listed, Open, Peers};

/// How long a peer that does not lead waits for a token that it does not know: one that was just made reaches it with
/// the next heartbeat.
const KNOWN_WITHIN: Duration = Duration::from_millis(500);
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// So many wait for a token at once.
static WAITING: Semaphore = Semaphore::const_new(16);

/// What a peer knows of tokens and members; nothing before it takes part.
#[derive(Clone)]
pub(super) struct Records(pub(super) Option<Arc<Peer>>);

/// What a request says of itself. Never shown: it may hold a token.
struct Asked {
    /// The cluster in the path.
    named: Option<ClusterName>,
    authorization: Option<String>,
}

/// Asks who calls, and whether they may.
pub(super) async fn authorise(
    State(records): State<Records>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    // A request that came on no connection of ours is nobody's.
    let caller = caller.cloned().unwrap_or(Caller::Anonymous);
    if caller == Caller::Unchecked {
        return next.run(request).await;
    }
    if !matches!(caller.who(), Some(Who::Peer(_))) {
        // Only peers pass requests on.
        request.headers_mut().remove(forward::FORWARDED);
    }
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map(|path| path.as_str().to_owned());
    let rule = match &path {
        Some(path) => rule(request.method(), path),
        // There is nothing, and that is said to anybody.
        None if records.0.is_some() => Some(Open),
        // What a peer waits for that does not take part yet names the others.
        None => Some(Installation(Viewer)),
    };
    let Some(rule) = rule else {
        return super::not_allowed(request.uri().clone())
            .await
            .into_response();
    };
    let path = path.unwrap_or_default();
    let asked = Asked {
        named: cluster(&path, request.uri().path()),
        // What is no text is no token either.
        authorization: request
            .headers()
            .get(AUTHORIZATION)
            .map(|header| header.to_str().unwrap_or_default().to_owned()),
    };
    match records.judge(rule, caller.who(), &asked).await {
        Ok(scope) => {
            request.extensions_mut().insert(scope);
            next.run(request).await
        }
        Err(problem) => denied(problem),
    }
}

impl Records {
    async fn judge(&self, rule: Rule, who: Option<&Who>, asked: &Asked) -> Result<Scope, Problem> {
        let is_member = || match who {
            Some(Who::Peer(id)) => !self.is_gone(*id),
            Some(Who::Agent { .. } | Who::Tool { .. }) | None => false,
        };
        let only = |is_so: bool, whose: &str| match is_so {
            true => Ok(Scope::Everything),
            false => Err(not_for(who, whose)),
        };
        match rule {
            Open => Ok(Scope::Everything),
            Peers => only(is_member(), "peers of this installation"),
            FormerPeers => only(
                matches!(who, Some(Who::Peer(_))),
                "peers of this installation",
            ),
            Agents => only(
                matches!(who, Some(Who::Agent { .. })),
                "agents of this installation",
            ),
            Holders => only(
                matches!(who, Some(Who::Agent { .. })) || is_member(),
                "peers and agents of this installation",
            ),
            Installation(needs) => {
                let on = Subject::Installation;
                self.may(Action { needs, on }, who, asked, false).await
            }
            Listed(needs) => {
                let on = Subject::Installation;
                self.may(Action { needs, on }, who, asked, true).await
            }
            Cluster(needs) => {
                let on = match &asked.named {
                    Some(cluster) => Subject::Cluster(cluster),
                    // There is none of such a name, which only those learn who may see all.
                    None => Subject::Installation,
                };
                self.may(Action { needs, on }, who, asked, false).await
            }
        }
    }

    /// Over what a person or program may do `action`: over everything, or over fewer clusters if `some` will do. A token
    /// decides alone, also for a certificate that may do more and for a peer that passes a request on.
    async fn may(
        &self,
        action: Action<'_>,
        who: Option<&Who>,
        asked: &Asked,
        some: bool,
    ) -> Result<Scope, Problem> {
        if let Some(header) = &asked.authorization {
            let token = header.strip_prefix("Bearer ").and_then(BearerToken::parse);
            let record = match token {
                Some(token) => self.token(&token.hash()).await?,
                None => None,
            };
            let scope = record.as_ref().map(|record| record.scope.clone());
            let find = |_: &SecretHash| record.map(Box::new);
            return match authorize(Some(header), find, action, clock::wall_millis()) {
                Ok(_) => Ok(Scope::Everything),
                // The role is enough, and so is the time.
                Err(Denied::Forbidden(Forbidden::Scope(_))) if some => {
                    Ok(scope.unwrap_or(Scope::Clusters([].into())))
                }
                Err(denied) => Err(of_token(&denied)),
            };
        }
        match who {
            Some(Who::Peer(id)) if !self.is_gone(*id) => Ok(Scope::Everything),
            Some(Who::Tool { role, .. }) => permits(*role, &Scope::Everything, action)
                .map(|()| Scope::Everything)
                .map_err(|why| forbidden(why.to_string().replace("the token", "the certificate"))),
            Some(who @ Who::Peer(_)) => Err(forbidden(format!(
                "{who} was removed from this installation"
            ))
            .hint("show the certificate of a peer that is a member, or one of your own")),
            Some(who @ Who::Agent { .. }) => Err(forbidden(format!(
                "{who} may not call this: it is for people and their programs"
            ))),
            None => Err(unauthenticated(format!(
                "this needs a token or a certificate of the role {}",
                action.needs
            ))),
        }
    }

    /// What is recorded of a token.
    async fn token(&self, hash: &SecretHash) -> Result<Option<TokenRecord>, Problem> {
        let Some(peer) = &self.0 else {
            return Err(Problem::no_leader());
        };
        let look = || {
            peer.consensus
                .read(|state| state.access.token(hash).cloned())
        };
        // A flood of tokens that nobody made costs one look each.
        let place = WAITING.try_acquire();
        let until = match place {
            Ok(_) => Instant::now() + KNOWN_WITHIN,
            Err(_) => Instant::now(),
        };
        loop {
            let found = look();
            let leads = peer.leading_term().is_some();
            if found.is_some() || leads || Instant::now() >= until {
                return Ok(found);
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Whether a peer was removed: its certificate may count for weeks still.
    fn is_gone(&self, id: PeerId) -> bool {
        self.0.as_ref().is_some_and(|peer| {
            let members = peer.consensus.committed_members();
            // Whoever knows of no members yet knows of none that left.
            !members.is_empty()
                && peer
                    .consensus
                    .read(|state| state.peers.is_gone(id, &members))
        })
    }
}

/// The cluster that a path names.
fn cluster(pattern: &str, path: &str) -> Option<ClusterName> {
    let mut parts = pattern.split('/').zip(path.split('/'));
    let (_, name) = parts.find(|(pattern, _)| *pattern == "{cluster}")?;
    ClusterName::new(name).ok()
}

fn of_token(denied: &Denied) -> Problem {
    match denied {
        Denied::NoToken | Denied::Unknown | Denied::Forbidden(Forbidden::Expired) => {
            unauthenticated(denied.to_string())
        }
        Denied::Forbidden(why @ Forbidden::Scope(_)) => forbidden(why.to_string()).hint(
            "an admin gives a token for that, or for the whole installation: primacy token create, without --cluster",
        ),
        Denied::Forbidden(why @ Forbidden::Role { .. }) => forbidden(why.to_string()),
    }
}

fn not_for(who: Option<&Who>, whose: &str) -> Problem {
    match who {
        None => unauthenticated(format!("this is for {whose}, by their certificates")),
        Some(who) => forbidden(format!(
            "this is for {whose}, and the certificate is of {who}"
        )),
    }
}

fn unauthenticated(detail: String) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .hint("show a certificate, or a token as Authorization: Bearer primacy-token-1.…; an admin makes one: primacy token create")
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
        .hint("an admin gives a token with the role that is needed: primacy token create; the role admin is one of the whole installation, without --cluster")
}

fn denied(problem: Problem) -> Response {
    let is_unknown = problem.status == StatusCode::UNAUTHORIZED.as_u16();
    let mut response = problem.into_response();
    if is_unknown {
        let how = HeaderValue::from_static("Bearer realm=\"primacy\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, how);
    }
    response
}
