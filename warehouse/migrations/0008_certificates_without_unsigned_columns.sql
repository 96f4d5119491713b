-- Neither was part of what is signed: who could change them could have another certificate taken for a run's own.
alter table ops.certificates drop column run;
alter table ops.certificates drop column signed_at;
