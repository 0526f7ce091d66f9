"""``oban_fetch_limited``: what a queue with limits or partitions may start now, taken in one round trip.

The lock comes first, in a separate statement; the counts after it see every start that was committed before, so no
limit is ever exceeded, and no slot is counted anywhere but in the rows that execute. The allowance of a rate is read
under the same lock, and what did start is logged in the same transaction.

Partitions are visited in a ring by skip scan, from a cursor of the node's: the cost follows the partitions visited and
not the jobs that wait. Rows are locked while they are picked, so that those that a user has locked don't use up a turn.

The settings of the function, and an ``ORDER BY`` that only the right index offers, leave the planner one plan on an
empty, a filled, an analysed and a never analysed table.
"""

from ..part import Part, filled
from .limits import LOCK, OPENS, ROOM

TAKE = """
          IF looks THEN
            RETURN QUERY SELECT j, k, NULL::double precision, NULL::boolean
              FROM {schema}oban_jobs j WHERE j.id = ANY (ids);
            RETURN;
          END IF;
          RETURN QUERY UPDATE {schema}oban_jobs j
             SET state = 'executing', attempt = attempt + 1, attempted_by = by_whom,
                 attempted_at = timezone('UTC', to_timestamp(t))
           WHERE j.id = ANY (ids) RETURNING j, k, NULL::double precision, NULL::boolean;"""

# One row that a trigger or a constraint refuses keeps its place at the end; the others get their keys.
KEY = """
              UPDATE {schema}oban_jobs j
                 SET partition_key = {schema}oban_partition_key(present, fields, j.worker, j.args, j.meta)
               WHERE j.id = ANY (ids);"""
REFUSED = (
    "cardinality_violation OR data_exception OR integrity_constraint_violation OR program_limit_exceeded "
    "OR plpgsql_error"
)

FETCH = """
CREATE OR REPLACE FUNCTION {schema}oban_fetch_limited(
  q text, demand integer, by_whom text[], unfit text[], refused bigint[],
  global_limit integer, rate integer, per double precision, bucket boolean,
  parted boolean, part_limit integer, part_rate integer, part_per double precision, part_bucket boolean,
  burst boolean, cur text, visits integer, looks boolean
) RETURNS TABLE (job {schema}oban_jobs, ring_at text, wait double precision, more boolean)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  t double precision;  soon double precision;  opening double precision;  reopens double precision;
  room integer := demand;  budget bigint := 2147483647;  spent bigint := 0;  total bigint;  part_total bigint;
  ids bigint[];  one bigint;  fresh bigint[];  costs integer[];  part_costs integer[];
  present integer;  fields text[];  lo text COLLATE "C";  hi text COLLATE "C";  start text COLLATE "C";
  k text COLLATE "C";  previous text COLLATE "C";  stuck text COLLATE "C";  top text COLLATE "C";  p smallint;
  rated boolean;  seen integer := 0;  visited integer;  hungry integer;  helping integer;  share integer;  lap integer;
  most integer;  part_most integer;  allowed bigint;  cut boolean := false;  over boolean := false;
  held boolean := false;  short boolean := false;
  waits text[] := '{{}}';  paid_keys text[];  paid bigint[];
BEGIN
  PERFORM pg_advisory_xact_lock(<lock>, hashtext(q));
  t := extract(epoch FROM clock_timestamp());
  IF parted THEN
    SELECT x.epoch, x.by INTO present, fields FROM {schema}oban_partitions x WHERE x.queue = q;
    parted := coalesce(fields, '{{}}') <> '{{}}';
  END IF;
  IF global_limit IS NOT NULL THEN
    IF parted THEN
      SELECT least(room, global_limit - count(*)) INTO room
        FROM (SELECT FROM {schema}oban_jobs WHERE state = 'executing' AND queue = q AND partition_key IS NOT NULL
               ORDER BY partition_key LIMIT global_limit) x;
    ELSE
      SELECT least(room, global_limit - count(*)) INTO room
        FROM (SELECT FROM {schema}oban_jobs WHERE state = 'executing' AND queue = q LIMIT global_limit) x;
    END IF;
    short := room < demand;
    IF room <= 0 THEN
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  IF rate IS NOT NULL OR EXISTS (SELECT FROM {schema}oban_rates r WHERE r.queue = q AND r.key = '' AND r.until > t) THEN
    SELECT a.room, a.opens INTO budget, reopens FROM {schema}oban_allowance(q, '', rate, per, bucket, t) a;
    IF budget <= 0 THEN
      wait := reopens - t;
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  most := coalesce(rate, 2147483647);
  part_most := coalesce(part_rate, 2147483647);

  IF NOT parted THEN
    IF rate IS NULL THEN
      ids := ARRAY(SELECT id FROM {schema}oban_jobs
                    WHERE state = 'available' AND queue = q AND attempt < max_attempts AND worker <> ALL (unfit)
                      AND id <> ALL (refused)
                    ORDER BY priority, scheduled_at, id LIMIT room FOR UPDATE SKIP LOCKED);
    ELSE
      SELECT coalesce(array_agg(x.id), '{{}}'), array_agg(x.cost), coalesce(sum(x.cost), 0) INTO ids, costs, spent
        FROM (SELECT id, {schema}oban_weight(meta, most) AS cost FROM {schema}oban_jobs
               WHERE state = 'available' AND queue = q AND attempt < max_attempts AND worker <> ALL (unfit)
                 AND id <> ALL (refused)
               ORDER BY priority, scheduled_at, id LIMIT least(room, budget) FOR UPDATE SKIP LOCKED) x;
      cut := spent >= budget;
      WHILE spent > budget LOOP
        spent := spent - costs[cardinality(ids)];
        ids := ids[:cardinality(ids) - 1];
      END LOOP;
    END IF;
    room := room - cardinality(ids);<take>
  ELSE
    lo := present || '|';
    hi := present || '}}';
    start := CASE WHEN cur > lo AND cur < hi THEN cur ELSE lo END;
    rated := part_rate IS NOT NULL
          OR EXISTS (SELECT FROM {schema}oban_rates r WHERE r.queue = q AND r.key > '' AND r.until > t);
    -- In the second pass, with `burst`, no key's limit counts: no other key asks for the room.
    FOR pass IN 1 .. CASE WHEN burst THEN 2 ELSE 1 END LOOP
      p := -1;
      LOOP
        SELECT j.priority, j.partition_key INTO p, k FROM {schema}oban_jobs j
         WHERE state = 'available' AND queue = q AND partition_key IS NOT NULL AND priority > p
         ORDER BY priority, partition_key LIMIT 1;
        EXIT WHEN NOT FOUND;
        -- Rows of another epoch, and those of programs that know no partitions, are at the ends of the ring.
        IF pass = 1 THEN
          top := (SELECT partition_key FROM {schema}oban_jobs
                   WHERE state = 'available' AND queue = q AND priority = p AND partition_key IS NOT NULL
                   ORDER BY partition_key DESC LIMIT 1);
          IF k < lo OR top >= hi THEN
            ids := ARRAY(SELECT id FROM {schema}oban_jobs
                          WHERE state = 'available' AND queue = q AND priority = p AND partition_key < lo
                          ORDER BY partition_key LIMIT 50 FOR UPDATE SKIP LOCKED) ||
                   ARRAY(SELECT id FROM {schema}oban_jobs
                          WHERE state = 'available' AND queue = q AND priority = p AND partition_key >= hi
                          ORDER BY partition_key DESC LIMIT 50 FOR UPDATE SKIP LOCKED);
            BEGIN<key>
            EXCEPTION WHEN <refused> THEN
              FOREACH one IN ARRAY ids LOOP
                ids := ARRAY[one];
                BEGIN<key>
                EXCEPTION WHEN <refused> THEN NULL;
                END;
              END LOOP;
            END;
          END IF;
        END IF;
        helping := greatest(1, room / 8);
        visited := 0;
        FOR turn IN 1 .. 4 LOOP
          k := start;
          lap := 0;
          hungry := 0;
          previous := start;
          ids := '{{}}';
          paid_keys := '{{}}';
          paid := '{{}}';
          LOOP
            IF lap = 0 THEN
              SELECT partition_key INTO k FROM {schema}oban_jobs
               WHERE state = 'available' AND queue = q AND priority = p AND partition_key > k AND partition_key < hi
               ORDER BY partition_key LIMIT 1;
              IF NOT FOUND THEN
                lap := 1;
                k := lo;
              END IF;
            END IF;
            IF lap = 1 THEN
              SELECT partition_key INTO k FROM {schema}oban_jobs
               WHERE state = 'available' AND queue = q AND priority = p AND partition_key > k AND partition_key <= start
               ORDER BY partition_key LIMIT 1;
              EXIT WHEN NOT FOUND;
            END IF;
            seen := seen + 1;
            visited := visited + 1;
            share := CASE WHEN k = ANY (waits) THEN 0 ELSE least(helping, room) END;
            allowed := 2147483647;
            IF part_limit IS NOT NULL AND pass = 1 AND share > 0 THEN
              SELECT least(share, part_limit - count(*)) INTO share
                FROM (SELECT FROM {schema}oban_jobs
                       WHERE state = 'executing' AND queue = q AND partition_key IS NOT NULL
                         AND partition_key >= k AND partition_key <= k ORDER BY partition_key LIMIT part_limit) x;
            END IF;
            held := held OR share <= 0;
            IF share > 0 AND rated THEN
              SELECT <room>,
                     <opens>
                INTO allowed, opening FROM {schema}oban_rates r WHERE r.queue = q AND r.key = k;
              IF NOT FOUND THEN
                allowed := part_most;
                opening := t;
              ELSIF allowed <= 0 THEN
                soon := least(soon, opening);
              END IF;
            END IF;
            IF share > 0 AND allowed > 0 THEN
              IF rate IS NULL AND part_rate IS NULL THEN
                fresh := ARRAY(SELECT id FROM {schema}oban_jobs
                                WHERE state = 'available' AND queue = q AND priority = p AND partition_key IS NOT NULL
                                  AND partition_key >= k AND partition_key <= k
                                  AND attempt < max_attempts AND worker <> ALL (unfit)
                                  AND id <> ALL (refused)
                                ORDER BY partition_key, scheduled_at, id LIMIT share FOR UPDATE SKIP LOCKED);
              ELSE
                SELECT coalesce(array_agg(x.id), '{{}}'), array_agg(x.cost), array_agg(x.part_cost),
                       coalesce(sum(x.cost), 0), coalesce(sum(x.part_cost), 0)
                  INTO fresh, costs, part_costs, total, part_total
                  FROM (SELECT id, {schema}oban_weight(meta, most) AS cost,
                               {schema}oban_weight(meta, part_most) AS part_cost FROM {schema}oban_jobs
                         WHERE state = 'available' AND queue = q AND priority = p AND partition_key IS NOT NULL
                           AND partition_key >= k AND partition_key <= k
                           AND attempt < max_attempts AND worker <> ALL (unfit)
                           AND id <> ALL (refused)
                         ORDER BY partition_key, scheduled_at, id
                         LIMIT least(share, allowed, budget - spent) FOR UPDATE SKIP LOCKED) x;
                cut := cut OR total >= budget - spent;
                IF part_total >= allowed THEN
                  soon := least(soon, CASE WHEN opening > t THEN opening WHEN part_bucket THEN t + part_per / part_rate
                                           ELSE t + part_per END);
                END IF;
                -- A job that costs more than is left waits, and so does what is behind it in its key. Other keys go on,
                -- but the next fetch begins with it, and nothing goes on until it can start: else it never could.
                IF total > budget - spent OR part_total > allowed THEN
                  waits := waits || k;
                  over := total > budget - spent;
                  IF over THEN
                    stuck := coalesce(stuck, previous);
                    over := visited = 1;
                  END IF;
                  WHILE total > budget - spent OR part_total > allowed LOOP
                    total := total - costs[cardinality(fresh)];
                    part_total := part_total - part_costs[cardinality(fresh)];
                    fresh := fresh[:cardinality(fresh) - 1];
                  END LOOP;
                END IF;
                spent := spent + total;
                IF part_total > 0 AND part_rate IS NOT NULL THEN
                  paid_keys := paid_keys || k;
                  paid := paid || part_total;
                END IF;
              END IF;
              IF fresh <> '{{}}' THEN
                hungry := hungry + CASE WHEN cardinality(fresh) >= helping THEN 1 ELSE 0 END;
                ids := ids || fresh;
                room := room - cardinality(fresh);
              END IF;
            END IF;
            previous := k;
            EXIT WHEN room <= 0 OR spent >= budget OR over OR seen >= visits;
          END LOOP;
          EXIT WHEN ids = '{{}}';
          k := coalesce(k, start);<take>
          IF paid_keys <> '{{}}' THEN
            PERFORM {schema}oban_started(q, paid_keys, paid, part_rate, part_per, t);
          END IF;
          EXIT WHEN room <= 0 OR spent >= budget OR over OR seen >= visits;
          EXIT WHEN hungry = 0;
          helping := (room + hungry - 1) / hungry;  -- few keys wait: they share what is left
        END LOOP;
        EXIT WHEN room <= 0 OR spent >= budget OR over OR seen >= visits;
      END LOOP;
      EXIT WHEN room <= 0 OR spent >= budget OR over OR seen >= visits;
    END LOOP;
  END IF;
  IF spent > 0 AND rate IS NOT NULL THEN
    PERFORM {schema}oban_started(q, ARRAY[''], ARRAY[spent], rate, per, t);
  END IF;
  IF cut THEN
    soon := least(soon, CASE WHEN reopens > t THEN reopens WHEN bucket THEN t + per / rate ELSE t + per END);
  END IF;
  -- For the node: that a limit holds jobs back, where to go on, when more is allowed, and whether to go on at once.
  more := room > 0 AND spent < budget AND NOT over AND seen >= visits;
  IF stuck IS NOT NULL OR soon IS NOT NULL OR held OR (short AND room <= 0) OR more THEN
    ring_at := coalesce(stuck, CASE WHEN more THEN k END);
    wait := soon - t;
    RETURN NEXT;
  END IF;
END $$"""

SIGNATURE = (
    "text, integer, text[], text[], bigint[], integer, integer, double precision, boolean, boolean, integer, integer, "
    "double precision, boolean, boolean, text, integer, boolean"
)

_KEYS = {"rate": "part_rate", "per": "part_per", "bucket": "part_bucket"}
_ROOM, _OPENS = filled(ROOM, **_KEYS), filled(OPENS, **_KEYS)

PART = Part(
    tables=(filled(FETCH, lock=LOCK, take=TAKE, key=KEY, refused=REFUSED, room=_ROOM, opens=_OPENS),),
    down=(f"DROP FUNCTION IF EXISTS {{schema}}oban_fetch_limited({SIGNATURE})",),
)
