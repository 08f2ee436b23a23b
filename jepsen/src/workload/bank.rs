//! A bank: money moves between accounts, and every snapshot of all balances has the same sum.

use crate::history::{Operation, Recorder, Transfer};
use crate::random::Random;
use crate::session::{Session, Target};

use super::client::{Client, Done, Habit, Names, Way, on_primary};
use super::sql::{self, Trouble, TroubleKind};
use super::{Pace, WorkloadError};

/// How many accounts there are.
pub const ACCOUNTS: u8 = 8;
/// What each holds in the beginning.
pub const DEPOSIT: i64 = 100;
/// What all hold together; for [`crate::history::Setup::total`].
pub const TOTAL: i64 = ACCOUNTS as i64 * DEPOSIT;

/// Creates the accounts.
///
/// # Errors
/// No primary does so in time.
pub async fn prepare(targets: &[Target]) -> Result<(), WorkloadError> {
    on_primary(targets, "create the bank", async |_, session| {
        let create = format!(
            "DROP TABLE IF EXISTS jepsen_bank;
             CREATE TABLE jepsen_bank (account bigint PRIMARY KEY, balance bigint NOT NULL);
             INSERT INTO jepsen_bank SELECT account, {DEPOSIT} FROM generate_series(0, {ACCOUNTS} - 1) account"
        );
        sql::run(session, &create).await
    })
    .await
}

/// One client: half of what it does are transfers, half looks at all balances.
///
/// # Errors
/// The history cannot be written.
pub async fn run(
    targets: Vec<Target>,
    habit: Habit,
    seed: u64,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let names = Names::new(&targets);
    let client = Client::new(Way::Primary(targets), habit);
    let mut random = Random::new(seed);
    let next = || {
        let mut below = |limit| i64::try_from(random.below(limit)).unwrap_or(0);
        let accounts = u64::from(ACCOUNTS);
        if below(2) == 0 {
            return Operation::Balances(None);
        }
        let from = below(accounts);
        let to = (from + 1 + below(accounts - 1)) % i64::from(ACCOUNTS);
        let amount = 1 + below(5);
        Operation::Transfer(Transfer { from, to, amount })
    };
    let perform = async |session: &Session, operation: &Operation| match operation {
        Operation::Transfer(it) => transfer(session, *it, &names).await,
        _ => balances(session).await,
    };
    client
        .work(recorder.client("bank")?, pace, next, perform)
        .await
}

/// Looks at all balances on the primary.
///
/// # Errors
/// No primary answers in time, or the history cannot be written.
pub async fn read(targets: &[Target], recorder: &Recorder) -> Result<(), WorkloadError> {
    let mut log = recorder.client("bank-read")?;
    let pending = log.invoke(Operation::Balances(None))?;
    let look = async |_: &str, session: &Session| balances(session).await;
    let (found, _) = on_primary(targets, "read the bank", look).await?;
    Ok(pending.ok(found)?)
}

async fn balances(session: &Session) -> Result<Done, Trouble> {
    let rows = sql::rows(session, "SELECT account, balance FROM jepsen_bank", &[]).await?;
    let balances = rows
        .iter()
        .map(|row| Ok((sql::column(row, 0)?, sql::column(row, 1)?)));
    let balances = balances.collect::<Result<_, Trouble>>()?;
    Ok((Operation::Balances(Some(balances)), None))
}

async fn transfer(session: &Session, it: Transfer, names: &Names) -> Result<Done, Trouble> {
    let change = async |account: i64, by: i64| {
        let update = "UPDATE jepsen_bank SET balance = balance + $2 \
             WHERE account = $1 AND balance + $2 >= 0 RETURNING account";
        let changed = sql::rows(session, update, &sql::numbers([&account, &by])).await?;
        match changed.is_empty() {
            false => Ok(()),
            // The server is well: only the account is too poor.
            true => Err(Trouble::new(TroubleKind::Conflict, "not enough money")),
        }
    };
    sql::transaction(session, async {
        change(it.from, -it.amount).await?;
        change(it.to, it.amount).await?;
        Ok((
            Operation::Transfer(it),
            sql::ask_answerer(session, names).await?,
        ))
    })
    .await
}
