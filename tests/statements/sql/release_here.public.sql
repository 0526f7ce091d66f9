SELECT found.queue, found.jobs 
FROM oban_release_flows(200) AS found
