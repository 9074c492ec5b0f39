-- Riyadh Voice: the exchange's own database. Amounts are halalas (1/100 SAR).

CREATE TABLE queues (
    id smallint PRIMARY KEY,
    name text NOT NULL,
    name_ar text NOT NULL,
    answer_within_seconds smallint NOT NULL CHECK (answer_within_seconds > 0)
);
CREATE TABLE extensions (
    number integer PRIMARY KEY CHECK (number BETWEEN 200 AND 999),
    holder text NOT NULL,
    holder_ar text NOT NULL,
    secret bytea NOT NULL,
    office_hours int4range NOT NULL,
    updated_on date NOT NULL
);
CREATE TABLE queue_members (
    queue_id smallint NOT NULL REFERENCES queues,
    extension integer NOT NULL REFERENCES extensions,
    priority smallint NOT NULL,
    PRIMARY KEY (queue_id, extension)
);
CREATE TABLE numbers (
    number text COLLATE "C" PRIMARY KEY,
    queue_id smallint NOT NULL REFERENCES queues,
    greeting_ar text NOT NULL,
    monthly_fee bigint NOT NULL
);
CREATE TABLE cdrs (
    id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL,
    direction text NOT NULL CHECK (direction IN ('in', 'out')),
    number text NOT NULL,
    queue_id smallint NOT NULL REFERENCES queues,
    extension integer NOT NULL REFERENCES extensions,
    ring interval NOT NULL,
    talk interval NOT NULL,
    cost bigint NOT NULL,
    result text NOT NULL CHECK (result IN ('answered', 'missed'))
);
CREATE INDEX cdrs_by_start ON cdrs USING brin (started_at);
CREATE INDEX cdrs_by_extension ON cdrs (extension, started_at DESC);

CREATE VIEW missed_by_queue AS
SELECT name_ar, count(*) FILTER (WHERE result = 'missed') AS missed, count(*) AS calls
FROM cdrs
JOIN queues ON queues.id = queue_id
GROUP BY name_ar;
