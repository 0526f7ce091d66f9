"""``oban_fetch_limited``: what a queue with limits or partitions may start now, taken in one round trip.

The lock comes first, in a separate statement; the counts after it see every start that was committed before, so no
limit is ever exceeded, and no slot is counted anywhere but in the rows that execute. The allowance of a rate is read
under the same lock, and what did start is logged in the same transaction.

Partitions are visited in a ring by skip scan, from a cursor of the node's: the cost follows the partitions visited and
not the jobs that wait. Rows are locked while they are picked, so that those that a user has locked don't use up a turn.

The settings of the function, and an ``ORDER BY`` that only the right index offers, leave the planner one plan on an
empty, a filled, an analysed and a never analysed table.
"""

from ..part import Part
from .limits import LOCK

TAKE = """
          RETURN QUERY UPDATE {schema}oban_jobs j
             SET state = 'executing', attempt = attempt + 1, attempted_by = by_whom,
                 attempted_at = timezone('UTC', to_timestamp(t))
           WHERE j.id = ANY (ids) RETURNING j, k, NULL::double precision;"""

FETCH = (
    """
CREATE OR REPLACE FUNCTION {schema}oban_fetch_limited(
  q text, demand integer, by_whom text[], unfit text[],
  global_limit integer, rate integer, per double precision, bucket boolean,
  parted boolean, part_limit integer, part_rate integer, part_per double precision, part_bucket boolean,
  burst boolean, cur text, visits integer
) RETURNS TABLE (job {schema}oban_jobs, ring_at text, next_at double precision)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  t double precision;  soon double precision;  opening double precision;  reopens double precision;
  room integer := demand;  budget bigint := 2147483647;  spent bigint := 0;  cost bigint;  part_cost bigint;
  ids bigint[];  fresh bigint[];
  present integer;  fields text[];  lo text COLLATE "C";  hi text COLLATE "C";  start text COLLATE "C";
  k text COLLATE "C";  previous text COLLATE "C";  stuck text COLLATE "C";  top text COLLATE "C";  p smallint;
  rated boolean;  seen integer := 0;  visited integer;  hungry integer;  helping integer;  share integer;  lap integer;
  most integer;  part_most integer;  allowed bigint;  cut boolean := false;  heavy boolean;  over boolean := false;
  waits text[] := '{{}}';  paid_keys text[];  paid integer[];
BEGIN
  PERFORM pg_advisory_xact_lock({lock}, hashtext(q));
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
    IF room <= 0 THEN RETURN; END IF;
  END IF;
  IF rate IS NOT NULL OR EXISTS (SELECT FROM {schema}oban_rates r WHERE r.queue = q AND r.key = '' AND r.until > t) THEN
    SELECT a.room, a.opens INTO budget, reopens FROM {schema}oban_allowance(q, '', rate, per, bucket, t) a;
    IF budget <= 0 THEN
      next_at := reopens;
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
                    ORDER BY priority, scheduled_at, id LIMIT room FOR UPDATE SKIP LOCKED);
    ELSE
      SELECT coalesce(array_agg(y.id) FILTER (WHERE y.total <= budget), '{{}}'),
             coalesce(max(y.total) FILTER (WHERE y.total <= budget), 0), coalesce(bool_or(y.total >= budget), false)
        INTO ids, spent, cut
        FROM (SELECT x.id, sum({schema}oban_weight(x.meta, most)) OVER (ROWS UNBOUNDED PRECEDING) AS total
                FROM (SELECT id, meta FROM {schema}oban_jobs
                       WHERE state = 'available' AND queue = q AND attempt < max_attempts AND worker <> ALL (unfit)
                       ORDER BY priority, scheduled_at, id LIMIT least(room, budget) FOR UPDATE SKIP LOCKED) x) y;
    END IF;
    room := room - cardinality(ids);{take}
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
            UPDATE {schema}oban_jobs j
               SET partition_key = {schema}oban_partition_key(present, fields, j.worker, j.args, j.meta)
             WHERE j.id = ANY (
               ARRAY(SELECT id FROM {schema}oban_jobs
                      WHERE state = 'available' AND queue = q AND priority = p AND partition_key < lo
                      ORDER BY partition_key LIMIT {rekeyed} FOR UPDATE SKIP LOCKED) ||
               ARRAY(SELECT id FROM {schema}oban_jobs
                      WHERE state = 'available' AND queue = q AND priority = p AND partition_key >= hi
                      ORDER BY partition_key DESC LIMIT {rekeyed} FOR UPDATE SKIP LOCKED));
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
            IF share > 0 AND rated THEN
              SELECT a.room, a.opens INTO allowed, opening
                FROM {schema}oban_allowance(q, k, part_rate, part_per, part_bucket, t) a;
              IF allowed <= 0 THEN
                soon := least(soon, opening);
              END IF;
            END IF;
            IF share > 0 AND allowed > 0 THEN
              IF rate IS NULL AND part_rate IS NULL THEN
                fresh := ARRAY(SELECT id FROM {schema}oban_jobs
                                WHERE state = 'available' AND queue = q AND priority = p AND partition_key IS NOT NULL
                                  AND partition_key >= k AND partition_key <= k
                                  AND attempt < max_attempts AND worker <> ALL (unfit)
                                ORDER BY partition_key, scheduled_at, id LIMIT share FOR UPDATE SKIP LOCKED);
              ELSE
                SELECT coalesce(array_agg(z.id) FILTER (WHERE z.fits), '{{}}'),
                       coalesce(max(z.total) FILTER (WHERE z.fits), 0),
                       coalesce(max(z.part_total) FILTER (WHERE z.fits), 0),
                       cut OR coalesce(bool_or(z.total >= budget - spent), false),
                       coalesce(bool_or(NOT z.fits), false), coalesce(bool_or(z.total > budget - spent), false),
                       CASE WHEN bool_or(z.part_total >= allowed)
                            THEN least(soon, CASE WHEN opening > t THEN opening WHEN part_bucket
                                                  THEN t + part_per / part_rate ELSE t + part_per END) ELSE soon END
                  INTO fresh, cost, part_cost, cut, heavy, over, soon
                  FROM (SELECT y.*, y.total <= budget - spent AND y.part_total <= allowed AS fits
                          FROM (SELECT x.id, sum({schema}oban_weight(x.meta, most)) OVER w AS total,
                                       sum({schema}oban_weight(x.meta, part_most)) OVER w AS part_total
                                  FROM (SELECT id, meta FROM {schema}oban_jobs
                                         WHERE state = 'available' AND queue = q AND priority = p
                                           AND partition_key IS NOT NULL AND partition_key >= k AND partition_key <= k
                                           AND attempt < max_attempts AND worker <> ALL (unfit)
                                         ORDER BY partition_key, scheduled_at, id
                                         LIMIT least(share, allowed, budget - spent) FOR UPDATE SKIP LOCKED) x
                                WINDOW w AS (ROWS UNBOUNDED PRECEDING)) y) z;
                spent := spent + cost;
                -- A job that costs more than is left waits, and so does what is behind it in its key. Other keys go on,
                -- but the next fetch begins with it, and nothing goes on until it can start: else it never could.
                IF heavy THEN
                  waits := waits || k;
                END IF;
                IF over THEN
                  stuck := coalesce(stuck, previous);
                END IF;
                over := over AND visited = 1;
                IF part_cost > 0 AND part_rate IS NOT NULL THEN
                  paid_keys := paid_keys || k;
                  paid := paid || part_cost::integer;
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
          k := coalesce(k, start);{take}
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
    PERFORM {schema}oban_started(q, ARRAY[''], ARRAY[spent::integer], rate, per, t);
  END IF;
  IF cut THEN
    soon := least(soon, CASE WHEN reopens > t THEN reopens WHEN bucket THEN t + per / rate ELSE t + per END);
  END IF;
  IF stuck IS NOT NULL OR (room > 0 AND (soon IS NOT NULL OR seen >= visits)) THEN
    ring_at := coalesce(stuck, CASE WHEN seen >= visits THEN k END);
    next_at := soon;
    RETURN NEXT;
  END IF;
END $$""".replace("{lock}", str(LOCK))
    .replace("{take}", TAKE)
    .replace("{rekeyed}", "50")
)

SIGNATURE = (
    "text, integer, text[], text[], integer, integer, double precision, boolean, boolean, integer, integer, "
    "double precision, boolean, boolean, text, integer"
)

PART = Part(tables=(FETCH,), down=(f"DROP FUNCTION IF EXISTS {{schema}}oban_fetch_limited({SIGNATURE})",))
