create table orders (id integer not null, name varchar(100) not null);
