//! Keeps the lease of a host, takes over the rows of hosts that are gone, and looks for new ones. Settles nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use super::error::SqliteError;
use super::settling;
use super::shared::{Release, Shared, new_owner, now_ms};
use super::tables::{DEAD_COLUMNS, MESSAGE_COLUMNS, columns, must_have};
use super::taking::{self, Look};

/// Renewals in the time of a lease: two may fail.
const RENEWALS: u32 = 3;

/// What a renewal did.
struct Tended {
    was_ours: bool,
    n_taken_over: usize,
    look: Look,
}

/// Looks after a source for as long as it is there.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut due = Instant::now() + shared.lease / RENEWALS;
    loop {
        tokio::select! {
            () = tokio::time::sleep(shared.poll) => {}
            () = shared.nudged.notified() => {}
        }
        let is_needed = {
            let state = shared.state();
            state.failing.is_some() || !state.is_registered || !state.releases.is_empty()
        };
        let done = match is_needed || Instant::now() >= due {
            true => tend(&shared)
                .await
                .map(|()| due = Instant::now() + shared.lease / RENEWALS),
            false => look(&shared).await,
        };
        if let Err(error) = done {
            shared.failed(&error);
            // Not at once: a nudge came with the failure.
            tokio::time::sleep(shared.poll).await;
        }
    }
}

async fn look(shared: &Shared) -> Result<(), SqliteError> {
    let tables = Arc::clone(&shared.tables);
    let look = shared.file.read("look for messages in", move |connection| {
        taking::look(connection, &tables, now_ms())
    });
    shared.saw(look.await?);
    Ok(())
}

/// Renews the lease, and does what has to be done beside it.
///
/// # Errors
/// The file fails; what was to be done is done the next time.
///
/// # Cancellation
/// Loses no release.
pub(super) async fn tend(shared: &Arc<Shared>) -> Result<(), SqliteError> {
    // The keeper and a source that stops may both come: one begins another lease at a time.
    let _one = shared.tending.lock().await;
    let (tables, owner, next_owner) = (Arc::clone(&shared.tables), shared.owner(), new_owner());
    let (until_ms, may_take_over) = (shared.until_ms(), shared.may_take_over());
    let is_registered = shared.state().is_registered;
    let releases: Vec<Release> = shared.state().releases.clone();
    let released: BTreeSet<i64> = releases.iter().map(|release| release.seq).collect();
    let next = Arc::clone(&next_owner);
    let work = move |connection: &rusqlite::Connection| {
        tables.make(connection)?;
        let was_ours = is_registered && taking::renew(connection, &tables, &owner, until_ms)?;
        if !was_ours {
            taking::register(connection, &tables, &next, until_ms)?;
        }
        for Release { seq, owner, ending } in &releases {
            settling::end(connection, &tables, (*seq, owner), ending)?;
        }
        let n_taken_over = match may_take_over {
            true => taking::take_over(connection, &tables, now_ms())?,
            false => 0,
        };
        Ok(Tended {
            was_ours,
            n_taken_over,
            look: taking::look(connection, &tables, now_ms())?,
        })
    };
    let tended = shared.file.write("claim messages in", work).await?;
    {
        let mut state = shared.state();
        // Others may have been added meanwhile, and a source that was dropped may have taken them all.
        state.releases.retain(|release| !released.contains(&release.seq));
        if !tended.was_ours {
            (state.owner, state.is_registered) = (next_owner, true);
        }
    }
    let table = &shared.tables.rows;
    if is_registered && !tended.was_ours {
        warn!(%table, "the lease was over before it was renewed: other hosts have the messages that were in flight");
    }
    if tended.n_taken_over > 0 {
        let n = tended.n_taken_over;
        shared.took_over(n);
        info!(%table, n, "hosts are gone: their messages are delivered again");
    }
    shared.renewed();
    shared.saw(tended.look);
    Ok(())
}

/// Checks that the tables are what they must be.
///
/// # Errors
/// The file fails, or another table has the name of one.
pub(super) async fn check(shared: &Shared) -> Result<(), SqliteError> {
    let tables = Arc::clone(&shared.tables);
    let found = shared.file.write("make tables in", move |connection| {
        tables.make(connection)?;
        Ok((columns(connection, &tables.rows)?, columns(connection, &tables.dead)?))
    });
    let (rows, dead) = found.await?;
    let path = shared.file.path();
    must_have(path, &shared.tables.rows, &rows, &MESSAGE_COLUMNS)?;
    must_have(path, &shared.tables.dead, &dead, &DEAD_COLUMNS)
}
