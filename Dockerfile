# docker build -t mailrace . && docker run -p 25:2525 -v mailrace:/var/lib/mailrace mailrace
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock README.md LICENSE ./
COPY mta mta
RUN pip wheel --no-cache-dir --constraint requirements.lock --wheel-dir /wheels .

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels mailrace && rm -r /wheels \
    && useradd --system --user-group --home-dir /var/lib/mailrace --create-home mailrace
USER mailrace
ENV MTA_HOME=/var/lib/mailrace PYTHONUNBUFFERED=1
VOLUME /var/lib/mailrace
EXPOSE 2525 2580
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:2580/readyz')"]
ENTRYPOINT ["mta"]
CMD ["serve", "--listen", "0.0.0.0:2525", "-o", "http.listen=0.0.0.0:2580"]
